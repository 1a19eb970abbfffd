"""The tools that a request offers: which are there, skipped, deferred, or refused."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from anthropic.types import ToolParam, ToolUnionParam

from models.errors import RequestError
from server.anthropic.requests.tools import is_skipped, tools_of

TOOL: dict[str, Any] = {"name": "read", "input_schema": {"type": "object"}}


@pytest.mark.parametrize("kind", ["web_search_20250305", "web_fetch_20260318", "code_execution_20250825"])
def test_tools_of_servers_are_skipped(kind: str) -> None:
    assert is_skipped({"type": kind, "name": "x"})
    assert tools_of([{"type": kind, "name": "x"}, TOOL], ())[0].name == "read"


@pytest.mark.parametrize("kind", ["bash_20250124", "text_editor_20250728", "memory_20250818", "new_20300101"])
def test_tools_that_only_anthropics_models_know_are_refused_without_a_schema(kind: str) -> None:
    with pytest.raises(RequestError, match=kind) as caught:
        tools_of([{"type": kind, "name": "x"}], ())
    assert caught.value.param == "tools[0].type"
    assert tools_of([{**TOOL, "type": kind}], ())[0].name == "read"


def known_types() -> list[str]:
    """The types of tools that the SDK knows, but for the client's own."""
    hints = [get_type_hints(each).get("type") for each in get_args(ToolUnionParam) if each is not ToolParam]
    return sorted(str(kind) for hint in hints for kind in get_args(hint))


@pytest.mark.parametrize("kind", known_types())
def test_every_type_of_the_sdk_is_skipped_or_refused(kind: str) -> None:
    given: dict[str, Any] = {"type": kind, "name": "x"}
    if is_skipped(given):
        assert tools_of([given], ()) == ()
        return
    with pytest.raises(RequestError, match=kind) as caught:
        tools_of([given], ())
    assert (caught.value.param, caught.value.code) == ("tools[0].type", "unsupported_parameter")


def test_a_strict_tool_is_held_whole_or_refused() -> None:
    strict, free = (tools_of([{**TOOL, "strict": value}], ())[0] for value in (True, False))
    assert (strict.strict, strict.path) == (True, "tools[0].input_schema")
    assert not free.strict


def test_examples_stand_at_the_end_of_the_description() -> None:
    examples: dict[str, Any] = {"input_examples": [{"path": "é.py"}, {}]}
    (bare,) = tools_of([{**TOOL, **examples}], ())
    (described,) = tools_of([{**TOOL, "description": "Reads.", **examples}], ())
    assert bare.description == 'Examples of the input:\n{"path":"é.py"}\n{}'
    assert described.description == f"Reads.\n\n{bare.description}"
    assert tools_of([{**TOOL, "input_examples": []}], ()) == tools_of([TOOL], ())


def test_a_tool_that_the_model_may_call_among_others() -> None:
    callers: Any = ["code_execution_20250825", "direct"]
    assert tools_of([{**TOOL, "allowed_callers": callers}], ()) == tools_of([TOOL], ())


def test_a_deferred_tool_is_there_once_a_search_has_found_it() -> None:
    deferred = [TOOL, {**TOOL, "name": "late", "defer_loading": True}]
    assert [tool.name for tool in tools_of(deferred, ())] == ["read"]
    assert [tool.name for tool in tools_of(deferred, {"late"})] == ["read", "late"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "tools[0].name"),
        ({"name": "x" * 129}, "tools[0].name"),
        ({"name": 5}, "tools[0].name"),
        ({"description": 5}, "tools[0].description"),
        ({"input_schema": []}, "tools[0].input_schema"),
        ({"input_schema": {"default": [{"a": 1 << 70}]}}, "tools[0].input_schema"),
        ({"input_schema": {"default": float("inf")}}, "tools[0].input_schema"),
        ({"input_schema": {"type": "array"}}, "tools[0].input_schema.type"),
    ],
)
def test_bad_tools(change: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        tools_of([{**TOOL, **change}], ())
    assert caught.value.param == param
