"""The errors of a part or a field that can't be served, and the checks that all parts share. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Any

from models.errors import RequestError
from server.chat import content_parts
from server.chat.content_parts import Part
from server.chat.tool_definitions import invalid


def unsupported(path: str, name: str, fix: str) -> RequestError:
    """Return the error of something that is known and isn't served."""
    return RequestError(
        f"'{path}': {name} is not supported by this server; {fix}", param=path, code="unsupported_parameter"
    )


def wrong_type(part: Part, path: str, *allowed: str) -> RequestError:
    """Return the error of a part whose type has no place there."""
    kind = part.get("type")
    if isinstance(kind, str) and ("tool_use" in kind or "tool_result" in kind) and kind not in _OWN:
        return unsupported(path, f"content of type '{kind[:80]}'", "only tools that the client runs are")
    return content_parts.refusal(part, path, dict.fromkeys(allowed, ""))


_OWN = frozenset({"tool_use", "tool_result"})


def string(part: Part, name: str, path: str) -> str:
    """Return a field that must be a string."""
    value = part.get(name)
    if not isinstance(value, str):
        raise invalid(f"{path}.{name}", "must be a string")
    return value


def name_of(part: Part, name: str, path: str) -> str:
    """Return a field that must be a string with something in it."""
    value = string(part, name, path)
    if not value:
        raise invalid(f"{path}.{name}", "must not be empty")
    return value


def check_numbers(value: Any, path: str) -> None:
    """Raise RequestError if a JSON value holds a number that can't travel to the model's process."""
    left = [value]
    while left:
        container = left.pop()
        for item in container.values() if isinstance(container, dict) else container:
            if isinstance(item, dict | list):
                left.append(item)
            elif isinstance(item, int) and not -(1 << 63) <= item < 1 << 64:
                raise invalid(path, "it has a whole number of more than 64 bits; send it as a string")
            elif isinstance(item, float) and not isfinite(item):
                raise invalid(path, "it has a number that isn't finite; send it as a string")
