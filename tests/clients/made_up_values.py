"""A value that a JSON schema allows, for the schemas that clients send of themselves. Pure."""

from __future__ import annotations

from typing import Any

_TEXTS = {"date": "2026-01-02", "date-time": "2026-01-02T03:04:05Z", "uri": "http://a.test/"}


def made_up(schema: dict[str, Any] | bool, root: dict[str, Any] | None = None) -> Any:
    """Return a value of `schema` with all its properties, in their order; `root` has what `$ref`s name."""
    if isinstance(schema, bool):
        return "Rome"
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for key in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            target = target[key] if key else target
        return made_up(target, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return made_up(schema[word][0], root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_kind(kind[0] if isinstance(kind, list) else kind, schema, root)


def _of_kind(kind: str, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    match kind:
        case "object":
            properties = schema.get("properties") or {}
            wanted = set(schema.get("required", properties))
            return {name: made_up(of, root) for name, of in properties.items() if name in wanted}
        case "array":
            return [made_up(schema.get("items", {}), root) for _ in range(max(1, schema.get("minItems", 1)))]
        case "integer" | "number":
            return schema.get("minimum", 3)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = _TEXTS.get(schema.get("format", ""), "Rome")
            return text.ljust(schema.get("minLength", 0), "e")[: schema.get("maxLength", 10_000)]
