"""`tools_of` and `choice_of`: the tools that the client runs, and which of them may be called. Pure.

Tools that Anthropic's own servers run, such as web search, are skipped, and the log says so. Tools of a type
whose definition only Anthropic's models know (`bash_20250124`) are refused, for the client waits for calls of
them; one that comes with an `input_schema` is a tool like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec
from pydantic import JsonValue

from models.errors import RequestError
from server.anthropic.requests import refusals
from server.anthropic.requests.schemas import ChoiceConfig, Part
from server.chat import tool_definitions
from server.chat.tool_definitions import invalid
from server.chat.tools import Tool, ToolChoice

_RUN_BY_SERVERS = ("web_search", "web_fetch", "code_execution", "tool_search_tool", "advisor", "mcp_toolset")
"""The types of tools that the API's own servers run begin so."""

_FIELDS = frozenset(
    {
        "type",
        "name",
        "description",
        "input_schema",
        "input_examples",
        "strict",
        "defer_loading",
        "allowed_callers",
        "cache_control",  # every prefix is cached
        "eager_input_streaming",  # every input is streamed as it is made
    }
)
"""The known fields of a tool."""
_DIRECT = "direct"
"""The caller of tools that the model itself is."""


def is_skipped(part: Part) -> bool:
    """Return True for a tool that no client runs."""
    kind = part.get("type")
    return isinstance(kind, str) and "input_schema" not in part and kind.startswith(_RUN_BY_SERVERS)


def unread_fields(part: Part) -> list[str]:
    """Return the names of a tool's fields that change nothing here and aren't known to be harmless."""
    return [name for name in part if name not in _FIELDS]


def tools_of(parts: Sequence[Part] | None, referenced: Collection[str]) -> tuple[Tool, ...]:
    """Return the tools of a request. Raises RequestError naming what is wrong with one.

    One with `defer_loading` is there only if it is in `referenced`: a search has found it.
    """
    paths = {f"tools[{i}]": part for i, part in enumerate(parts or ()) if not is_skipped(part)}
    tools = [_tool(part, path) for path, part in paths.items()]
    tool_definitions.check_tools(tools, list(paths))
    return tuple(
        tool
        for tool, part in zip(tools, paths.values(), strict=True)
        if part.get("defer_loading") is not True or tool.name in referenced
    )


def choice_of(choice: ChoiceConfig | None, tools: Sequence[Tool]) -> ToolChoice:
    """Return which tools may be called. Raises RequestError for one that isn't there."""
    if choice is None or choice.type == "none":
        return ToolChoice() if choice is None else ToolChoice(mode="none")
    parallel = choice.disable_parallel_tool_use is not True
    if choice.type == "tool" and choice.name is None:
        raise missing("tool_choice.name")
    names = () if choice.type != "tool" or choice.name is None else (choice.name,)
    mode: Literal["auto", "required"] = "auto" if choice.type == "auto" else "required"
    made = ToolChoice(mode=mode, names=names, parallel=parallel)
    tool_definitions.check_choice(made, tools, "tool_choice")
    return made


def _tool(part: Part, path: str) -> Tool:
    kind = part.get("type")
    if "input_schema" not in part:
        if kind in (None, "custom"):
            raise missing(f"{path}.input_schema")
        shown = f"the tool type '{kind[:80]}'" if isinstance(kind, str) else "such a tool type"
        raise refusals.unsupported(
            f"{path}.type", shown, "describe the tool with 'name', 'description' and 'input_schema'"
        )
    schema = part["input_schema"]
    if not isinstance(schema, dict):
        raise invalid(f"{path}.input_schema", "must be the JSON schema of an object")
    refusals.check_numbers(schema, f"{path}.input_schema")
    for name in ("strict", "defer_loading", "eager_input_streaming"):
        if not isinstance(part.get(name), bool | None):
            raise invalid(f"{path}.{name}", "must be true or false")
    _check_callers(part, path)
    return tool_definitions.tool(
        part.get("name"),
        _description(part, path),
        schema,
        path,
        strict=part.get("strict") is True,
        schema="input_schema",
    )


def _check_callers(part: Part, path: str) -> None:
    """Raise RequestError for a tool that only code is to call, which runs nowhere here."""
    callers = part.get("allowed_callers")
    if callers is None:
        return
    if not isinstance(callers, list):
        raise invalid(f"{path}.allowed_callers", "must be an array of strings")
    if _DIRECT not in callers:
        raise refusals.unsupported(
            f"{path}.allowed_callers", "a call by executed code", f"add '{_DIRECT}', or leave it out"
        )


def _description(part: Part, path: str) -> JsonValue:
    """Return a tool's description, with the examples of its input, for which templates have no place."""
    description, examples = part.get("description"), part.get("input_examples")
    if examples is None or examples == []:
        return description
    if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
        raise invalid(f"{path}.input_examples", "must be an array of objects")
    if not isinstance(description, str | None):
        return description
    refusals.check_numbers(examples, f"{path}.input_examples")
    shown = [msgspec.json.encode(example).decode() for example in examples]
    return "\n".join([*([f"{description}\n"] if description else []), "Examples of the input:", *shown])


def missing(path: str) -> RequestError:
    """Return the error of a field that must be there."""
    return RequestError(
        f"Missing required parameter: '{path}'", param=path, code="missing_required_parameter"
    )
