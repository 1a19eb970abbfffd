"""The tools that a client defines, checked: names, schemas of arguments, number and size. Pure.

All protocols make their `Tool`s with this; where each keeps name and schema, it says itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from models.errors import RequestError
from server.chat.tools import Tool, ToolChoice

MAX_TOOLS = 1_024
"""A request has at most this many tools."""
MAX_TOOLS_BYTES = 512 << 10
"""All tools of a request together have at most this many bytes, encoded: ten times what an agent sends."""
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
"""The schema of a tool that says nothing of its arguments: OpenAI's protocol gives it none."""
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


def tool(
    name: Any,
    description: Any,
    parameters: Any,
    path: str,
    *,
    schema: str = "parameters",
    strict: bool | None = None,
) -> Tool:
    """Return a tool. Raises RequestError; `path` is the client's name of what holds it, `schema` that of the
    field with the schema of its arguments. With `strict` a schema that can't be held whole is refused.
    """
    if name is None:
        raise RequestError(
            f"Missing required parameter: '{path}.name'",
            param=f"{path}.name",
            code="missing_required_parameter",
        )
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise invalid(f"{path}.name", "must have 1 to 128 letters, digits, and '_', '.' or '-'")
    if description is not None and not isinstance(description, str):
        raise invalid(f"{path}.description", "must be a string")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid(f"{path}.{schema}", "must be the JSON schema of an object")
    if parameters is None:
        parameters = NO_PARAMETERS
    kind = parameters.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise invalid(
            f"{path}.{schema}.type", "must be 'object': a tool's arguments are the members of an object"
        )
    made = Tool(name=name, description=description or "", parameters=parameters)
    return msgspec.structs.replace(made, strict=True, path=f"{path}.{schema}") if strict else made


def check_tools(tools: Sequence[Tool], paths: Sequence[str], param: str = "tools") -> None:
    """Raise RequestError for names that come twice, and for tools that are too many or too large.

    `paths[i]` is the client's name of what holds tool i, `param` that of all.
    """
    if len(tools) > MAX_TOOLS:
        raise RequestError(
            f"'{param}' has {len(tools):,} tools; at most {MAX_TOOLS:,} are allowed", param=param
        )
    places: dict[str, str] = {}
    for each, path in zip(tools, paths, strict=True):
        if each.name in places:
            raise invalid(f"{path}.name", f"{each.name!r} is the name of '{places[each.name]}', too")
        places[each.name] = path
    try:
        n_bytes = len(msgspec.msgpack.encode(list(tools)))
    except OverflowError as error:
        raise RequestError(
            f"a schema in '{param}' has a whole number of more than 64 bits; leave the bound out", param=param
        ) from error
    if n_bytes > MAX_TOOLS_BYTES:
        raise RequestError(
            f"'{param}' has {n_bytes:,} bytes; the limit is {MAX_TOOLS_BYTES:,}; send fewer or shorter ones",
            param=param,
        )


def check_choice(choice: ToolChoice, tools: Sequence[Tool], param: str, tools_param: str = "tools") -> None:
    """Raise RequestError for a choice that asks for calls that no tool can get."""
    known = {each.name for each in tools}
    unknown = next((name for name in choice.names if name not in known), None)
    if unknown is not None:
        raise RequestError(
            f"'{param}' names the tool {unknown!r:.140}, and '{tools_param}' has none of that name",
            param=param,
            code="invalid_value",
        )
    if choice.mode == "required" and not tools:
        raise RequestError(
            f"'{param}' asks for a call, and the request has no '{tools_param}'; add them, or leave it out",
            param=param,
            code="invalid_value",
        )


def invalid(path: str, fact: str) -> RequestError:
    """Return the error for a field that has a wrong value."""
    return RequestError(f"Invalid value for '{path}': {fact}", param=path, code="invalid_value")
