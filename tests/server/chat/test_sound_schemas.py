"""A tool's schema as clients may send it: what isn't JSON Schema is left out by name, the rest stays."""

from __future__ import annotations

from typing import Any

import pytest

from server.chat.sound_schemas import sound_tool
from server.chat.tool_definitions import tool
from server.chat.tool_formats import lark
from server.chat.tool_formats.registry import tool_formats
from server.chat.tool_formats.tool_format import GrammarJob
from server.chat.tools import Tool
from server.worker.constraints.check import checked_grammar
from server.worker.constraints.grammar_text import GrammarRequest


def member(**schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema, "b": {"type": "boolean"}}, "required": ["a", "b"]}


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "null lists": ({**member(), "required": None, "$defs": None, "additionalProperties": None}, []),
    "names": ({**member(), "required": True}, ["required"]),
    "odd names": ({**member(), "required": ["b", 1, None]}, ["required"]),
    "properties": ({"type": "object", "properties": ["a"]}, ["properties"]),
    "member null": ({"type": "object", "properties": {"a": None}}, ["properties.a"]),
    "member text": ({"type": "object", "properties": {"a": "string"}}, ["properties.a"]),
    "definitions": ({**member(), "$defs": "x"}, ["$defs"]),
    "definitions list": ({**member(), "definitions": [1]}, ["definitions"]),
    "python types": (member(type="dict"), ["properties.a.type"]),
    "type number": (member(type=5), ["properties.a.type"]),
    "type list": (member(type=["string", 5, None]), ["properties.a.type"]),
    "type of nothing": (member(type=[]), ["properties.a.type"]),
    "enum text": (member(enum="abc"), ["properties.a.enum"]),
    "enum null": (member(type="string", enum=None), []),
    "anyOf": (member(anyOf="x"), ["properties.a.anyOf"]),
    "anyOf members": (member(anyOf=[None, {"type": "string"}]), ["properties.a.anyOf[0]"]),
    "items": (member(type="array", items="string"), ["properties.a.items"]),
    "counts": (
        member(type="array", minItems="1", maxItems=-1),
        ["properties.a.minItems", "properties.a.maxItems"],
    ),
    "lengths": (member(type="string", minLength=5, maxLength=2), ["properties.a.minLength"]),
    "bounds": (member(type="integer", minimum="1"), ["properties.a.minimum"]),
    "pattern": (member(type="string", pattern=5), ["properties.a.pattern"]),
    "reference": (member(**{"$ref": 5}), ["properties.a.$ref"]),
    "round references": (
        {
            **member(**{"$ref": "#/$defs/A"}),
            "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
        },
        ["$defs.A.$ref"],
    ),
    "required elsewhere": (
        {**member(), "required": ["a", "zz"], "additionalProperties": False},
        ["required"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_left_out_by_name(fault: str) -> None:
    schema, places = FAULTS[fault]
    found, left_out = sound_tool(Tool(name="f", parameters=schema, path="tools[0].parameters"))
    assert left_out == [f"tools[0].parameters.{place}" for place in places]
    if "b" in (schema.get("properties") or ()):
        assert found.parameters["properties"]["b"] == {"type": "boolean"}, "the rest stays"
    assert sound_tool(found) == (found, []), "sound schemas stay as they are"


def test_names_that_only_required_has_are_declared() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "zz"]}
    found, left_out = sound_tool(Tool(name="f", parameters=schema))
    assert found.parameters["properties"] == {"a": {"type": "string"}, "zz": {}}
    assert left_out == []


def test_lengths_may_be_whole_decimals() -> None:
    found, left_out = sound_tool(Tool(name="f", parameters=member(type="string", maxLength=2.0)))
    assert repr(found.parameters["properties"]["a"]["maxLength"]) == "2"
    assert left_out == []


@pytest.mark.parametrize("name", sorted(tool_formats()))
def test_each_format_writes_a_grammar(name: str) -> None:
    """Formats see sound schemas only, so none of them fails at a fault."""
    for fault, (schema, _) in FAULTS.items():
        found, _ = sound_tool(Tool(name="f", parameters=schema))
        grammar = tool_formats()[name].grammar(job_of(found))
        assert "start" in grammar, fault


SELDOM: dict[str, dict[str, Any]] = {
    "no regular expression": member(type="string", pattern="([a"),
    "slashes": member(type="string", pattern=r"^a/b\/c\\/d$"),
    "itself": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "nothing": {"type": "object", "properties": {"a": False}, "required": ["a"]},
    "its own definition": {"$ref": "#"},
    "choice of itself": {
        **member(**{"$ref": "#/$defs/A"}),
        "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": ["string", "object"]}]}},
    },
}


@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "glm", "gemma4", "lfm2", "minimax_m3"])
@pytest.mark.parametrize("case", SELDOM)
def test_what_cannot_be_held_fails_no_request(name: str, case: str) -> None:
    found, _ = sound_tool(Tool(name="f", parameters=SELDOM[case], path="tools.f"))
    text = tool_formats()[name].grammar(job_of(found))
    assert checked_grammar(GrammarRequest(param="tools", lark=text, relaxed=True)).text


@pytest.mark.parametrize("name", sorted(tool_formats()))
def test_a_tool_may_have_no_arguments(name: str) -> None:
    found = tool("f", None, None, "tools[0]")
    assert sound_tool(found) == (found, [])
    text = tool_formats()[name].grammar(job_of(found))
    assert checked_grammar(GrammarRequest(param="tools", lark=text)).left_out == ()


def job_of(offered: Tool) -> GrammarJob:
    return GrammarJob(
        tools=[offered], required=True, parallel=True, mark=lark.quoted, is_token=lambda _: False
    )
