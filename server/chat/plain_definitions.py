"""`plain_definition`: a tool's definition for templates that expect more than JSON Schema says. Pure.

Command-R+'s template needs a description of each argument, Hermes' knows no `null` among types, Seed-OSS'
needs `properties`. Only what the prompt shows is changed: calls are held to the client's schema.
"""

from __future__ import annotations

from typing import Any

from server.chat.sound_schemas import sound_schema


def plain_definition(definition: dict[str, Any]) -> dict[str, Any]:
    """Return OpenAI's object of a tool with a schema that templates can walk."""
    function = definition["function"]
    sound = sound_schema(function.get("parameters") or {}, lambda _: None, "")
    parameters = {"type": "object", "properties": {}, "required": [], **_plain(sound)}
    return {**definition, "function": {**function, "parameters": parameters}}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    found = dict(schema)
    description = found.get("description")
    if description is not None and not isinstance(description, str):
        found["description"] = str(description)
    if isinstance(found.get("type"), list):
        kinds = [kind for kind in found["type"] if kind != "null"] or ["string"]
        found["type"] = kinds[0] if len(kinds) == 1 else kinds
    if "properties" in found:
        found["properties"] = {name: _argument(member) for name, member in found["properties"].items()}
    if isinstance(found.get("items"), dict):
        found["items"] = _plain(found["items"])
    return found


def _argument(schema: Any) -> dict[str, Any]:
    found = _plain(schema) if isinstance(schema, dict) else {}
    more: dict[str, Any] = {"description": ""}
    if found.get("type") == "object":
        more |= {"properties": {}, "additionalProperties": {}}
    return {**more, **found}
