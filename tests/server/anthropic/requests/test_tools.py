"""The tools that a request offers: which are there, skipped, deferred, or refused."""

from __future__ import annotations

from typing import Any

import pytest

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
