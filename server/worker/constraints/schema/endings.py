"""`check_endings`: a schema that only endless values match is refused. Pure."""

from __future__ import annotations

from typing import Any

from server.worker.constraints.schema.limits import Place
from server.worker.constraints.schema.values import types_of

_PREFIX = "#/$defs/"


def check_endings(document: dict[str, Any], place: Place) -> None:
    """Raise RequestError if each value of a rewritten schema holds another of its own kind, for ever."""
    definitions: dict[str, Any] = document.get("$defs", {})
    ending: set[str] = set()
    unlisted: list[str] = []

    def ends(schema: Any) -> bool:
        if isinstance(schema, bool):
            return schema
        if "$ref" in schema and schema["$ref"].removeprefix(_PREFIX) not in ending:
            return False
        if not all(map(ends, schema.get("allOf", ()))) or not any(map(ends, schema.get("anyOf", (True,)))):
            return False
        if "const" in schema or "enum" in schema or not types_of(schema) <= {"object", "array"}:
            return True
        kinds = types_of(schema)
        return ("object" in kinds and object_ends(schema)) or ("array" in kinds and array_ends(schema))

    def object_ends(schema: dict[str, Any]) -> bool:
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        patterns = schema.get("patternProperties", {}).values()
        unlisted.extend(_unlisted(schema))
        return all(
            ends(properties[name]) if name in properties else ends(others) or any(map(ends, patterns))
            for name in schema.get("required", ())
        )

    def array_ends(schema: dict[str, Any]) -> bool:
        first, n = schema.get("prefixItems", []), schema.get("minItems", 0)
        return all(map(ends, first[:n])) and (n <= len(first) or ends(schema.get("items", True)))

    while new := [name for name in definitions if name not in ending and ends(definitions[name])]:
        ending.update(new)
    if not ends(document):
        unlisted.clear()
        for schema in (document, *(definitions[name] for name in definitions if name not in ending)):
            ends(schema)
        place.refuse(_reason(unlisted))


def _unlisted(schema: dict[str, Any]) -> list[str]:
    """Return the names that an object requires and forbids."""
    if schema.get("additionalProperties") is not False or schema.get("patternProperties"):
        return []
    return [name for name in schema.get("required", ()) if name not in schema.get("properties", {})]


def _reason(unlisted: list[str]) -> str:
    if not unlisted:
        return "no finite value matches it; let what refers to itself be optional, or null, or empty"
    return (
        f"no value matches it: 'required' names '{unlisted[0]}', which 'properties' doesn't, and "
        "'additionalProperties' is false; add it to 'properties', or leave it out of 'required'"
    )
