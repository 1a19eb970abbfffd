from __future__ import annotations

from typing import Any

import pytest

from models.errors import RequestError
from server.chat.tool_definitions import MAX_TOOLS, NO_PARAMETERS, check_choice, check_tools, tool
from server.chat.tools import Tool, ToolChoice


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        (None, NO_PARAMETERS),
        ({}, {}),
        ({"type": "object"}, {"type": "object"}),
        ({"properties": {}}, {"properties": {}}),
        ({"type": ["object", "null"]}, {"type": ["object", "null"]}),
    ],
)
def test_a_tool(parameters: Any, kept: dict[str, Any]) -> None:
    assert tool("a_b-c.9", None, parameters, "p") == Tool(name="a_b-c.9", parameters=kept)
    assert tool("f", "d", parameters, "p").description == "d"


@pytest.mark.parametrize(
    ("name", "description", "parameters", "param"),
    [
        (None, None, None, "p.name"),
        ("", None, None, "p.name"),
        ("a b", None, None, "p.name"),
        ("f\n", None, None, "p.name"),
        ("é", None, None, "p.name"),
        ("x" * 129, None, None, "p.name"),
        (5, None, None, "p.name"),
        ("f", 5, None, "p.description"),
        ("f", None, [], "p.input_schema"),
        ("f", None, "x", "p.input_schema"),
        ("f", None, True, "p.input_schema"),
        ("f", None, {"type": "string"}, "p.input_schema.type"),
        ("f", None, {"type": None}, "p.input_schema.type"),
        ("f", None, {"type": ["string"]}, "p.input_schema.type"),
    ],
)
def test_tools_that_are_refused(name: Any, description: Any, parameters: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        tool(name, description, parameters, "p", schema="input_schema")
    assert caught.value.param == param


def check(*tools: Tool) -> None:
    check_tools(tools, [f"tools[{i}]" for i in range(len(tools))])


def test_names_come_once() -> None:
    check(Tool(name="f"), Tool(name="g"))
    with pytest.raises(RequestError, match=r"'f' is the name of 'tools\[0\]', too") as caught:
        check(Tool(name="f"), Tool(name="g"), Tool(name="f"))
    assert caught.value.param == "tools[2].name"


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([Tool(name=f"f{i}") for i in range(MAX_TOOLS + 1)], "at most 1,024"),
        ([Tool(name="f", description="x" * (1 << 20))], "the limit is 524,288"),
        ([Tool(name="f", parameters={"maximum": 1 << 64})], "64 bits"),
    ],
)
def test_tools_are_bounded(tools: list[Tool], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        check(*tools)
    assert caught.value.param == "tools"


def test_a_choice_is_among_the_tools() -> None:
    tools = [Tool(name="f")]
    check_choice(ToolChoice(), [], "tool_choice")
    check_choice(ToolChoice(mode="none"), [], "tool_choice")
    check_choice(ToolChoice(mode="required", names=("f",)), tools, "tool_choice")
    for choice, given in [
        (ToolChoice(mode="required"), []),
        (ToolChoice(mode="required", names=("g",)), tools),
        (ToolChoice(names=("f", "g")), tools),
    ]:
        with pytest.raises(RequestError) as caught:
            check_choice(choice, given, "tool_choice")
        assert caught.value.param == "tool_choice"
