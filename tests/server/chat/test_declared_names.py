"""Names that only `required` or a branch has: declared, or no longer required, by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from server.chat.sound_schemas import sound_tool
from server.chat.tool_formats import lark
from server.chat.tool_formats.registry import tool_formats
from server.chat.tool_formats.tool_format import GrammarJob
from server.chat.tools import Tool
from server.worker.constraints.check import checked_grammar
from server.worker.constraints.grammar_text import Grammar, GrammarRequest

BYTES = LLTokenizer("byte")


def offered(**schema: Any) -> Tool:
    listed = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    return Tool(name="f", parameters={**listed, **schema}, path="tools[0].parameters")


def grammar_of(tool: Tool, name: str = "hermes") -> Grammar:
    return checked_grammar(GrammarRequest(param="tools", lark=text_of(tool, name), relaxed=True))


def text_of(tool: Tool, name: str) -> str:
    job = GrammarJob(tools=[tool], required=True, parallel=False, mark=lark.quoted, is_token=lambda _: False)
    return tool_formats()[name].grammar(job)


def follows(grammar: Grammar, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar.text, log_level=0)
    assert not matcher.get_error()
    tokens = BYTES.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def call(arguments: Any) -> str:
    return f'<tool_call>\n{{"name": "f", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


X = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"required": ["a", "x"]}, {"a": "", "x": [1]}, {"a": ""}),
        ({"required": ["a", "x"]}, {"a": "", "x": 1}, {"x": 1}),
        ({"required": ["x"], "properties": {}}, {"x": None, "y": 1}, {"y": 1}),
        ({"required": ["x"], "properties": {}, "additionalProperties": True}, {"x": 1, "y": 1}, {}),
        ({"required": ["a", "x"], "additionalProperties": X}, {"a": "", "x": 1}, {"a": "", "x": "1"}),
        ({"required": ["a", "x"], "patternProperties": {"^y": X}}, {"a": "", "x": "1"}, {"a": "", "y": 1}),
        ({"required": ["a", "y"], "patternProperties": {"^y": X}}, {"a": "", "y": 1}, {"a": "", "y": "1"}),
        ({"anyOf": [{"required": ["x"]}, {"required": ["y"]}]}, {"a": "", "y": 1}, {"a": ""}),
        ({"oneOf": [{"required": ["x"]}, {"required": ["y"]}]}, {"a": "", "y": 1}, {"a": "", "x": 1, "y": 1}),
        (
            {"anyOf": [{"properties": {"x": X}, "required": ["x"]}, {"required": ["y"]}]},
            {"a": "", "x": 1},
            {"a": "", "x": "1"},
        ),
        ({"allOf": [{"properties": {"x": X}, "required": ["x"]}]}, {"a": "", "x": 1}, {"a": "", "x": "1"}),
        ({"dependentRequired": {"a": ["x"]}}, {"a": "", "x": 1}, {"a": ""}),
        ({"dependentSchemas": {"a": {"required": ["x"]}}}, {"a": "", "x": 1}, {"a": ""}),
        ({"if": {"required": ["a"]}, "then": {"required": ["x"]}}, {"a": "", "x": 1}, {"a": ""}),
        (
            {"$ref": "#/$defs/D", "$defs": {"D": {"properties": {"x": X}, "required": ["x"]}}},
            {"a": "", "x": 1},
            {"a": ""},
        ),
        ({"not": {"type": "object", "required": ["x"]}}, {"a": ""}, {"a": "", "x": 1}),
    ],
)  # fmt: skip
def test_all_that_is_required_stays_required(schema: Any, right: Any, wrong: Any) -> None:
    tool, left_out = sound_tool(offered(**schema))
    assert left_out == []
    grammar = grammar_of(tool)
    assert grammar.left_out == ()
    assert follows(grammar, call(right))
    assert not follows(grammar, call(wrong))
    assert sound_tool(tool) == (tool, []), "what is declared stays as it is"


@pytest.mark.parametrize(
    "schema",
    [
        {"required": ["a", "x"], "additionalProperties": False},
        {"required": ["a", "x"], "unevaluatedProperties": False},
        {"required": ["a", "x"], "additionalProperties": False, "patternProperties": {"^y": X}},
        {"required": ["a", "x"], "propertyNames": {"pattern": "^a"}},
        {"required": ["a", "x"], "propertyNames": {"enum": ["a"]}},
        {"required": ["a", "xx"], "propertyNames": {"maxLength": 1}},
        {"required": ["a", "x"], "properties": {"a": {"type": "string"}, "x": False}},
    ],
)
def test_a_name_that_no_object_has_is_left_out_alone(schema: Any) -> None:
    tool, left_out = sound_tool(offered(**schema))
    assert left_out == ["tools[0].parameters.required"]
    grammar = grammar_of(tool)
    assert follows(grammar, call({"a": ""}))
    assert not follows(grammar, call({})), "the other name is still required"


@pytest.mark.parametrize("name", sorted(tool_formats()))
def test_each_format_writes_them_as_required(name: str) -> None:
    """Formats whose arguments are elements, or Python's, know declared names only."""
    for properties in ({}, {"a": {"type": "string"}}):
        tool, _ = sound_tool(offered(properties=properties, required=[*properties, "x_y"]))
        same, _ = sound_tool(offered(properties={**properties, "x_y": {}}, required=[*properties, "x_y"]))
        other, _ = sound_tool(offered(properties={**properties, "x_y": {}}, required=[*properties]))
        if not properties:
            same.parameters["additionalProperties"] = other.parameters["additionalProperties"] = {}
        assert text_of(tool, name) == text_of(same, name) != text_of(other, name)


def test_other_arguments_of_a_python_call_have_any_name() -> None:
    tool, _ = sound_tool(offered(properties={}, required=["x"]))
    grammar = grammar_of(tool, "lfm2")
    assert follows(grammar, "<|tool_call_start|>[f(x=1, another_1=2)]<|tool_call_end|>")
