"""`tools_of` and `choice_of`: the tools that the client runs, and which of them may be called. Pure.

Tools that Anthropic's own servers run, such as web search, are skipped, and the log says so. Tools of a type
whose definition only Anthropic's models know (`bash_20250124`) are refused, for the client waits for calls of
them; one that comes with an `input_schema` is a tool like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from models.errors import RequestError
from server.anthropic.requests import refusals
from server.anthropic.requests.schemas import ChoiceConfig, Part
from server.chat import tool_definitions
from server.chat.tool_definitions import invalid
from server.chat.tools import Tool, ToolChoice

_RUN_BY_SERVERS = ("web_search", "web_fetch", "code_execution", "tool_search_tool", "advisor", "mcp_toolset")
"""The types of tools that the API's own servers run begin so."""


def is_skipped(part: Part) -> bool:
    """Return True for a tool that no client runs."""
    kind = part.get("type")
    return isinstance(kind, str) and "input_schema" not in part and kind.startswith(_RUN_BY_SERVERS)


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
    return tool_definitions.tool(
        part.get("name"), part.get("description"), schema, path, schema="input_schema"
    )


def missing(path: str) -> RequestError:
    """Return the error of a field that must be there."""
    return RequestError(
        f"Missing required parameter: '{path}'", param=path, code="missing_required_parameter"
    )
