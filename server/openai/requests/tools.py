"""The tools of a chat as OpenAI's clients send them, the legacy functions too, and the choice. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from models.errors import RequestError
from server.chat import tool_definitions
from server.chat.tool_definitions import invalid
from server.chat.tools import Tool, ToolChoice
from server.openai.requests.schemas import TemplateRequest


class OfferedTools(NamedTuple):
    """The tools of a request and the choice among them."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = ToolChoice()
    legacy: bool = False
    """True if they came as `functions`, and the answer's call is a `function_call`."""


def offered_tools(request: TemplateRequest) -> OfferedTools:
    """Return the tools of a request. Raises RequestError for what is wrong, or isn't served."""
    if request.functions or (request.function_call is not None and not request.tools):
        return _functions(request)
    if request.function_call not in (None, "auto"):
        raise RequestError(
            "'function_call' chooses among 'functions', and the request has 'tools'; use 'tool_choice'",
            param="function_call",
        )
    tools = tools_of(request.tools)
    choice = _choice(request.tool_choice, parallel=request.parallel_tool_calls is not False)
    tool_definitions.check_choice(choice, tools, "tool_choice")
    return OfferedTools(tools, choice)


def tools_of(value: Any) -> tuple[Tool, ...]:
    """Return the tools of a request's `tools`. Raises RequestError for what is wrong with them."""
    given = _items(value, "tools")
    tools = tuple(_tool(item, f"tools[{i}]") for i, item in enumerate(given))
    tool_definitions.check_tools(tools, [f"tools[{i}].function" for i in range(len(tools))])
    return tools


def _functions(request: TemplateRequest) -> OfferedTools:
    if request.tools:
        raise RequestError("'functions' and 'tools' are both set; 'tools' is enough", param="functions")
    given = _items(request.functions, "functions")
    paths = [f"functions[{i}]" for i in range(len(given))]
    tools = tuple(_function(item, path) for item, path in zip(given, paths, strict=True))
    tool_definitions.check_tools(tools, paths, "functions")
    match request.function_call:
        case None | "auto":
            choice = ToolChoice(parallel=False)
        case "none":
            choice = ToolChoice(mode="none", parallel=False)
        case {"name": str(name)}:
            choice = ToolChoice(mode="required", names=(name,), parallel=False)
        case _:
            raise invalid(
                "function_call", "must be 'none', 'auto' or an object with the 'name' of a function"
            )
    tool_definitions.check_choice(choice, tools, "function_call", "functions")
    return OfferedTools(tools, choice, legacy=bool(tools))


def _tool(item: Any, path: str) -> Tool:
    if not isinstance(item, dict):
        raise invalid(path, "must be an object")
    kind = item.get("type")
    if kind is None:
        raise RequestError(
            f"Missing required parameter: '{path}.type'",
            param=f"{path}.type",
            code="missing_required_parameter",
        )
    if kind != "function":
        raise RequestError(
            f"a tool of the type {kind!r:.80} is not supported in chats; offer one of the type 'function'",
            param=f"{path}.type",
            code="unsupported_parameter",
        )
    if "function" not in item and "name" in item:  # as the Responses API has it
        return _function(item, path)
    if item.get("function") is None:
        raise RequestError(
            f"Missing required parameter: '{path}.function'",
            param=f"{path}.function",
            code="missing_required_parameter",
        )
    return _function(item["function"], f"{path}.function")


def _function(item: Any, path: str) -> Tool:
    if not isinstance(item, dict):
        raise invalid(path, "must be an object")
    if not isinstance(item.get("strict"), bool | None):
        raise invalid(f"{path}.strict", "must be true or false")
    return tool_definitions.tool(
        item.get("name"), item.get("description"), item.get("parameters"), path, strict=item.get("strict")
    )


def _choice(given: Any, *, parallel: bool) -> ToolChoice:
    match given:
        case None:
            return ToolChoice(parallel=parallel)
        case "auto" | "none" | "required":
            return ToolChoice(mode=given, parallel=parallel)
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            return ToolChoice(mode="required", names=(name,), parallel=False)
        case {"type": "allowed_tools", "allowed_tools": dict(allowed)}:
            return _allowed(allowed, "tool_choice.allowed_tools", parallel=parallel)
        case {"type": "allowed_tools"}:
            return _allowed(given, "tool_choice", parallel=parallel)
        case {"type": str(kind)} if kind != "function":
            raise RequestError(
                f"a 'tool_choice' of the type {kind!r:.80} is not supported; it may be 'function' or "
                "'allowed_tools'",
                param="tool_choice.type",
                code="unsupported_parameter",
            )
    raise invalid(
        "tool_choice",
        "must be 'none', 'auto', 'required' or an object that names a function or allowed tools",
    )


def _allowed(given: dict[str, Any], path: str, *, parallel: bool) -> ToolChoice:
    mode = given.get("mode", "auto")
    if mode not in ("auto", "required"):
        raise invalid(f"{path}.mode", "must be 'auto' or 'required'")
    names = [
        _allowed_name(item, f"{path}.tools[{i}]")
        for i, item in enumerate(_items(given.get("tools"), f"{path}.tools"))
    ]
    if not names:
        raise invalid(f"{path}.tools", "must name a tool; to allow none, set 'tool_choice' to 'none'")
    return ToolChoice(mode=mode, names=tuple(dict.fromkeys(names)), parallel=parallel)


def _allowed_name(item: Any, path: str) -> str:
    match item:
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            return name
    raise invalid(path, "must be an object of the type 'function' with the name of a tool")


def _items(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(path, "must be an array")
    return value
