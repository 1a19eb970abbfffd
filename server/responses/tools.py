"""The tools of a Responses request as the model sees them, and back: `ToolTable`. Pure.

The model knows functions with one name each. A function of a `namespace` is called NAMESPACE__NAME there, a
`custom` tool is a function with one string; in an answer both have their own form again. Tools that a server
would run itself (`web_search`, `mcp`, …) are left out, with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from models.errors import RequestError
from server.chat import tool_definitions as definitions
from server.chat.tools import Tool, ToolChoice

_NAME_CHARS = 128
_FIELDS = frozenset({"type", "name", "description", "parameters", "strict", "format"})
"""The fields of a tool that have a meaning here."""


class ToolName(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool's name and kind on the wire."""

    kind: Literal["function", "custom"]
    name: str
    namespace: str | None = None

    @property
    def flat(self) -> str:
        """The name that the model knows."""
        return flat_name(self.name, self.namespace)


def flat_name(name: str, namespace: str | None) -> str:
    """Return the name of a function as the model knows it."""
    return name if namespace is None else f"{namespace}__{name}"


class ToolTable(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that the model gets, their names on the wire, and what is told of those left out."""

    tools: tuple[Tool, ...] = ()
    names: dict[str, ToolName] = {}
    """The wire's name for each name that the model knows."""
    served: list[dict[str, Any]] = []
    """The tools as the client sent them, without those left out."""
    warnings: list[str] = []
    left_out: list[str] = []
    """The kinds of tools that were left out, and fields of tools that nobody reads, for the log."""


def tool_table(given: Sequence[dict[str, Any]] | None) -> ToolTable:
    """Return the table of a request's tools. Raises RequestError for a malformed one."""
    reader = _Reader()
    for i, tool in enumerate(given or ()):
        reader.read(tool, f"tools[{i}]")
    definitions.check_tools(reader.tools, reader.paths)
    return ToolTable(
        tools=tuple(reader.tools),
        names=reader.names,
        served=reader.served,
        warnings=reader.warnings,
        left_out=reader.left_out,
    )


def tool_choice(given: str | dict[str, Any] | None, table: ToolTable, *, parallel: bool) -> ToolChoice:
    """Return which calls the answer may have. Raises RequestError for a tool that isn't there."""
    if given is None or given == "auto":
        return ToolChoice(parallel=parallel)
    if given == "none":
        return ToolChoice(mode="none")
    if given == "required":
        if not table.tools:
            raise RequestError(
                "'tool_choice' is 'required' and there are no tools that this server can offer; send "
                "function tools",
                param="tool_choice",
            )
        return ToolChoice(mode="required", parallel=parallel)
    if isinstance(given, str):
        raise RequestError(
            "Invalid value for 'tool_choice': must be 'auto', 'none', 'required' or an object",
            param="tool_choice",
            code="invalid_value",
        )
    kind = given.get("type")
    if kind == "allowed_tools":
        return _allowed(given, table, parallel=parallel)
    name = _chosen_name(given, table, "tool_choice")
    return ToolChoice(mode="required", names=(name,), parallel=parallel)


def _allowed(given: dict[str, Any], table: ToolTable, *, parallel: bool) -> ToolChoice:
    mode, tools = given.get("mode", "auto"), given.get("tools")
    if mode not in ("auto", "required"):
        raise RequestError(
            "Invalid value for 'tool_choice.mode': must be 'auto' or 'required'", param="tool_choice.mode"
        )
    if not isinstance(tools, list) or not tools or not all(isinstance(tool, dict) for tool in tools):
        raise RequestError(
            "Invalid value for 'tool_choice.tools': must be an array of objects", param="tool_choice.tools"
        )
    names = [
        _chosen_name(tool, table, f"tool_choice.tools[{i}]")
        for i, tool in enumerate(tools)
        if tool.get("type") in ("function", "custom")
    ]
    if not names:
        if mode == "required":
            raise _no_such_tool("tool_choice.tools", "no function")
        return ToolChoice(mode="none")
    return ToolChoice(mode=mode, names=tuple(names), parallel=parallel)


def _chosen_name(given: dict[str, Any], table: ToolTable, param: str) -> str:
    kind, name, namespace = given.get("type"), given.get("name"), given.get("namespace")
    if kind not in ("function", "custom"):
        raise RequestError(
            f"'{param}' names a tool of type {_shown(kind)}, which this server doesn't have; name a function",
            param=param,
        )
    if not isinstance(name, str):
        raise RequestError(
            f"Missing required parameter: '{param}.name'",
            param=f"{param}.name",
            code="missing_required_parameter",
        )
    for flat, known in table.names.items():
        if known.kind == kind and name in (flat, known.name) and namespace in (None, known.namespace):
            return flat
    raise _no_such_tool(f"{param}.name", _shown(name))


def _no_such_tool(param: str, named: str) -> RequestError:
    return RequestError(
        f"'{param}' names {named}, which is none of the tools that the model can call; add it to 'tools'",
        param=param,
    )


class _Reader:
    """Reads tool after tool."""

    def __init__(self) -> None:
        self.tools: list[Tool] = []
        self.paths: list[str] = []
        self.names: dict[str, ToolName] = {}
        self.served: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.left_out: list[str] = []

    def read(self, tool: dict[str, Any], path: str) -> None:
        kind = tool.get("type")
        if kind == "namespace":
            self._namespace(tool, path)
        elif kind in ("function", "custom"):
            if self._callable(tool, path, None, ""):
                self.served.append(tool)
        elif isinstance(kind, str):
            self._leave_out(path, kind)
        else:
            raise _malformed(f"{path}.type", "must be a string, such as 'function'")

    def _leave_out(self, path: str, kind: Any) -> None:
        self.warnings.append(f"{path} is left out: this server has no tools of type {_shown(kind)}")
        self.left_out.append(f"tools.type={kind}")

    def _namespace(self, tool: dict[str, Any], path: str) -> None:
        """Take the functions of a namespace; its description goes before that of the first one."""
        name, inner = _name(tool, path), tool.get("tools")
        if not isinstance(inner, list) or not all(isinstance(part, dict) for part in inner):
            raise _malformed(f"{path}.tools", "must be an array of tools")
        about = _text(tool, "description", path)
        for i, part in enumerate(inner):
            if part.get("type", "function") not in ("function", "custom"):
                self._leave_out(f"{path}.tools[{i}]", part.get("type"))
            elif self._callable(part, f"{path}.tools[{i}]", name, about):
                about = ""
        self.served.append(tool)

    def _callable(self, tool: dict[str, Any], path: str, namespace: str | None, about: str) -> bool:
        """Take a tool; return False if it is left out."""
        kind: Literal["function", "custom"] = "custom" if tool.get("type") == "custom" else "function"
        known = ToolName(kind, _name(tool, path), namespace)
        self.left_out += [f"tools.{field}" for field in tool if field not in _FIELDS]
        description = "\n\n".join(text for text in (about, _text(tool, "description", path)) if text)
        strict = False
        if kind == "custom":
            parameters = self._custom_parameters(tool, path)
            if parameters is None:
                return False
        else:
            parameters = tool.get("parameters")
            if tool.get("strict") not in (None, True, False):
                raise _malformed(f"{path}.strict", "must be true, false or null")
            strict = bool(tool.get("strict"))
        self.tools.append(definitions.tool(known.flat, description, parameters, path, strict=strict))
        self.paths.append(path)
        self.names[known.flat] = known
        return True

    def _custom_parameters(self, tool: dict[str, Any], path: str) -> dict[str, Any] | None:
        """Return the schema of a free text's wrapping; None for a form that can't be held inside of it."""
        form = tool.get("format") or {"type": "text"}
        if not isinstance(form, dict):
            raise _malformed(f"{path}.format", "must be an object")
        text: dict[str, Any] = {"type": "string"}
        if form.get("type") == "grammar" and form.get("syntax") == "regex":
            text["pattern"] = f"^(?:{form.get('definition', '')})$"
        elif form.get("type") != "text":
            what = form.get("syntax", form.get("type"))
            self.left_out.append(f"tools.format={what}")
            self.warnings.append(
                f"{path} is left out: a free text's form {_shown(what)} can't be guaranteed inside of a call"
            )
            return None
        return {
            "type": "object",
            "properties": {"input": text},
            "required": ["input"],
            "additionalProperties": False,
        }


def _name(tool: dict[str, Any], path: str) -> str:
    name = tool.get("name")
    if name is None:
        nested = isinstance(tool.get("function"), dict)
        raise RequestError(
            f"Missing required parameter: '{path}.name'"
            + ("; Responses have the fields of 'function' in the tool itself" if nested else ""),
            param=f"{path}.name",
            code="missing_required_parameter",
        )
    if not isinstance(name, str) or not 0 < len(name) <= _NAME_CHARS:
        raise _malformed(f"{path}.name", f"must be a string of 1 to {_NAME_CHARS} characters")
    return name


def _text(tool: dict[str, Any], field: str, path: str) -> str:
    text = tool.get(field)
    if text is not None and not isinstance(text, str):
        raise _malformed(f"{path}.{field}", "must be a string")
    return text or ""


def _malformed(param: str, rule: str) -> RequestError:
    return RequestError(f"Invalid value for '{param}': {rule}", param=param, code="invalid_value")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
