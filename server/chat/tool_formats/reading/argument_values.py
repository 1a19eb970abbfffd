"""`text_piece` and `value_text`: argument values that weren't written as JSON, as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from server.chat.tool_formats.python_literal import python_literal

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}
_MAX_LITERAL_CHARS = 100_000
_NESTED = 8
"""References and alternatives are followed so deep."""


def text_piece(text: str) -> str:
    """Return a piece of a text as it stands within a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def branches(schema: object, root: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives of a schema, each of one type; one without a type is any value."""
    if not isinstance(schema, Mapping) or depth > _NESTED:
        yield {}
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from branches(_resolved(reference, root), root, depth + 1)
        return
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list):
            for one in schema[keyword]:
                yield from branches(one, root, depth + 1)
            return
    kinds = schema.get("type")
    if isinstance(kinds, list):
        for kind in kinds:
            yield {**schema, "type": kind}
    elif kinds is None and ("const" in schema or schema.get("enum")):
        values = [schema["const"]] if "const" in schema else schema["enum"]
        for value in values:
            yield {"const": value, "type": json_type(value)}
    else:
        yield schema


def json_type(value: object) -> str:
    """Return the JSON type's name of a value."""
    if isinstance(value, bool):
        return "boolean"
    return next(name for name, kind in _TYPES.items() if isinstance(value, kind))


def types_of(schema: object, root: Mapping[str, Any]) -> set[str | None]:
    """Return the JSON types that a value may have; None among them: any type."""
    return {one.get("type") for one in branches(schema, root)}


def value_text(text: str, types: set[str | None]) -> str:
    """Return a value that was written as JSON, as a Python literal or as plain text, as JSON.

    Text stays text where its type must be one, or where it is no value of a type that is allowed.
    """
    value = literal(text.strip())
    if value is not None or text.strip() in ("null", "None"):
        allowed = {kind for kind in types if kind != "string"}
        kind = json_type(value)
        if None in allowed or kind in allowed or (kind == "integer" and "number" in allowed):
            return _written(text.strip(), value)
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> Any:
    """Return the value of a JSON text or of a Python literal; None if it is neither."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    if len(text) > _MAX_LITERAL_CHARS:
        return None
    try:
        value = python_literal(text)
    except ValueError:
        return {"true": True, "false": False}.get(text)
    return list(value) if isinstance(value, tuple) else value


def _written(text: str, value: Any) -> str:
    """Return the value as JSON: as it was written, if that is JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(value, ensure_ascii=False)
    return text


def _resolved(reference: str, root: Mapping[str, Any]) -> object:
    """Return the schema that a reference within `root` names; {} if there is none."""
    place: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, Mapping) or key not in place:
            return {}
        place = place[key]
    return place
