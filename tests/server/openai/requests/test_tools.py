from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from models.errors import RequestError
from server.chat.tool_definitions import NO_PARAMETERS
from server.chat.tools import Tool, ToolChoice
from server.openai.requests.schemas import ChatCompletionRequest
from server.openai.requests.tools import OfferedTools, offered_tools

F: Any = {"type": "function", "function": {"name": "f", "description": "d", "strict": True}}
G: Any = {"type": "function", "function": {"name": "g", "parameters": None}}
TOOLS = (
    Tool(
        name="f",
        description="d",
        strict=True,
        path="tools[0].function.parameters",
        parameters=NO_PARAMETERS,
    ),
    Tool(name="g", parameters=NO_PARAMETERS),
)


def offered(**fields: Any) -> OfferedTools:
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    return offered_tools(ChatCompletionRequest.model_validate_json(json.dumps(body)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": None},
        {"tools": []},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"functions": [], "function_call": "auto"},
    ],
)
def test_no_tools(fields: dict[str, Any]) -> None:
    assert offered(**fields).tools == ()
    assert offered(**fields).choice.mode == "auto"
    assert not offered(**fields).legacy


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        (
            {"type": "function", "function": {"name": "g"}},
            ToolChoice(mode="required", names=("g",), parallel=False),
        ),
        ({"type": "function", "name": "g"}, ToolChoice(mode="required", names=("g",), parallel=False)),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
            ToolChoice(mode="required", names=("f",)),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice(names=("f",)),
        ),
    ],
)
def test_choices(given: Any, choice: ToolChoice) -> None:
    assert offered(tools=[F, G], tool_choice=given) == OfferedTools(TOOLS, choice)


def test_one_call_at_a_time() -> None:
    assert not offered(tools=[F], parallel_tool_calls=False).choice.parallel
    assert offered(tools=[F], parallel_tool_calls=None).choice.parallel


def test_a_tool_in_the_form_of_responses_is_read() -> None:
    assert offered(tools=[{"type": "function", "name": "g"}]).tools == (TOOLS[1],)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": {}}, "tools", "must be an array"),
        ({"tools": "f"}, "tools", "must be an array"),
        ({"tools": [5]}, "tools[0]", "must be an object"),
        ({"tools": [{}]}, "tools[0].type", "Missing"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type", "Missing"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "Missing"),
        ({"tools": [F, {"type": "function", "function": 5}]}, "tools[1].function", "must be an object"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "Missing"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]},
            "tools[0].function.strict",
            "true or false",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
            "tools[0].function.parameters.type",
            "'object'",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type", "'custom'"),
        ({"tools": [F, {"type": "web_search"}]}, "tools[1].type", "'web_search'"),
        ({"tools": [F, G, F]}, "tools[2].function.name", "'f'"),
        ({"tools": [F], "tool_choice": "any"}, "tool_choice", "'required'"),
        ({"tools": [F], "tool_choice": 5}, "tool_choice", "'required'"),
        ({"tools": [F], "tool_choice": {}}, "tool_choice", "'required'"),
        ({"tools": [F], "tool_choice": {"type": "any"}}, "tool_choice.type", "'any'"),
        (
            {"tools": [F], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
            "tool_choice.type",
            "'custom'",
        ),
        ({"tools": [F], "tool_choice": {"type": "function"}}, "tool_choice", "names a function"),
        (
            {"tools": [F], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
            "'g'",
        ),
        ({"tool_choice": "required"}, "tool_choice", "no 'tools'"),
        ({"tools": [], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice", "'g'"),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "mode": "any", "tools": []}},
            "tool_choice.mode",
            "'required'",
        ),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}},
            "tool_choice.allowed_tools.tools",
            "must name a tool",
        ),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "tools": ["f"]}},
            "tool_choice.tools[0]",
            "must be an object",
        ),
        ({"tools": [F], "functions": [{"name": "f"}]}, "functions", "'tools' is enough"),
        ({"tools": [F], "function_call": {"name": "f"}}, "function_call", "'tool_choice'"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call", "'none', 'auto'"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call", "'g'"),
        ({"function_call": {"name": "g"}}, "function_call", "'g'"),
        ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1].name", "'f'"),
        ({"functions": [{"name": "f", "parameters": []}]}, "functions[0].parameters", "schema"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        offered(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        (None, ToolChoice(parallel=False)),
        ("auto", ToolChoice(parallel=False)),
        ("none", ToolChoice(mode="none", parallel=False)),
        ({"name": "f"}, ToolChoice(mode="required", names=("f",), parallel=False)),
    ],
)
def test_legacy_functions(given: Any, choice: ToolChoice) -> None:
    functions = [F["function"], G["function"]]
    tools = (msgspec.structs.replace(TOOLS[0], path="functions[0].parameters"), TOOLS[1])
    assert offered(functions=functions, function_call=given) == OfferedTools(tools, choice, legacy=True)
