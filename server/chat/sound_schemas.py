"""`sound_schema`: a tool's schema without what isn't JSON Schema, for grammars and readers. Pure.

Clients send what their languages make of a schema: `null` for an empty list, types of other languages, names
in `required` that nothing declares. A keyword with a value of a wrong kind says nothing, so it is left out
and named; the rest of the schema is held. Prompts show the client's own schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from server.chat.declared_names import declare_names
from server.chat.tools import Tool

_TYPES = frozenset(("string", "number", "integer", "boolean", "null", "array", "object"))
_SCHEMA = frozenset(
    (
        *("additionalProperties", "unevaluatedProperties", "propertyNames", "items"),
        *("additionalItems", "unevaluatedItems", "contains", "not", "if", "then", "else"),
    )
)
_OPPOSED = frozenset(("not", "if"))
_SCHEMAS_BY_NAME = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_LISTS_OF_SCHEMAS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_RANGES = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))


def sound_tool(tool: Tool) -> tuple[Tool, list[str]]:
    """Return a tool whose schema is sound, and the places of what was left out of it."""
    left_out: list[str] = []
    parameters = sound_schema(tool.parameters, left_out.append, tool.path or tool.name)
    return replace(tool, parameters=parameters), left_out


def sound_schema(schema: Mapping[str, Any], leave_out: Callable[[str], None], path: str) -> dict[str, Any]:
    """Return an object's schema, sound in all its parts. `leave_out` hears the place of each fault."""
    found = _Walk(leave_out).schema(schema, path, is_object=True)
    for keyword in ("$defs", "definitions"):
        definitions: dict[str, Any] = found.get(keyword, {})
        for name in definitions:
            if _is_endless(name, definitions):
                definitions[name] = {}
                leave_out(f"{path}.{keyword}.{name}.$ref")
    return found


class _Walk:
    def __init__(self, leave_out: Callable[[str], None]) -> None:
        self._leave_out = leave_out
        self._n_opposed = 0
        """The number of schemas around whose opposite counts: there a declaration would say more."""

    def schema(self, schema: Mapping[str, Any], path: str, *, is_object: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for keyword, value in schema.items():
            place = f"{path}.{keyword}"
            kept = self._value(keyword, value, place)
            if kept is not _NOTHING:
                found[keyword] = kept
            elif value is not None:  # null is how some languages write that there is nothing
                self._leave_out(place)
        for least, most in _RANGES:
            if least in found and most in found and found[least] > found[most]:
                del found[least], found[most]
                self._leave_out(f"{path}.{least}")
        if not self._n_opposed:
            declare_names(found, lambda: self._leave_out(f"{path}.required"), is_object=is_object)
        return found

    def _value(self, keyword: str, value: Any, place: str) -> Any:
        """Return a keyword's value, sound; `_NOTHING` if it says nothing."""
        if keyword in _SCHEMAS_BY_NAME:
            if not isinstance(value, dict):
                return _NOTHING
            return {name: self._member(member, f"{place}.{name}") for name, member in value.items()}
        if keyword in _LISTS_OF_SCHEMAS or (keyword == "items" and isinstance(value, list)):
            if not isinstance(value, list) or not value:
                return _NOTHING
            return [self._member(member, f"{place}[{at}]") for at, member in enumerate(value)]
        if keyword in _SCHEMA:
            self._n_opposed += keyword in _OPPOSED
            try:
                return self._member(value, place) if isinstance(value, bool | dict) else _NOTHING
            finally:
                self._n_opposed -= keyword in _OPPOSED
        if keyword == "required":
            return self._names(value, place)
        if keyword == "type":
            return self._types(value, place)
        if keyword in _COUNTS:
            return _count(value)
        return value if keyword not in _IS_SOUND or _IS_SOUND[keyword](value) else _NOTHING

    def _member(self, value: Any, place: str) -> Any:
        if isinstance(value, bool):
            return value
        if isinstance(value, dict):
            return self.schema(value, place)
        self._leave_out(place)
        return {}

    def _names(self, value: Any, place: str) -> Any:
        if not isinstance(value, list):
            return _NOTHING
        names = [name for name in value if isinstance(name, str)]
        if len(names) < len(value):
            self._leave_out(place)
        return names

    def _types(self, value: Any, place: str) -> Any:
        if isinstance(value, str):
            return value if value in _TYPES else _NOTHING
        if not isinstance(value, list):
            return _NOTHING
        types = [kind for kind in value if isinstance(kind, str) and kind in _TYPES]
        if not types:
            return _NOTHING
        if len(types) < len(value):
            self._leave_out(place)
        return types


def _is_endless(name: str, definitions: Mapping[str, Any]) -> bool:
    """Return True if a definition is only a reference, and those lead back to one that was seen."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        found = definitions.get(name)
        reference = found.get("$ref") if isinstance(found, dict) else None
        if not isinstance(reference, str):
            return False
        name = reference.rsplit("/", 1)[-1]
    return True


def _count(value: Any) -> Any:
    """Return a count as a whole number; `_NOTHING` if it is none."""
    return int(value) if _is_number(value) and value >= 0 and value == value // 1 else _NOTHING


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_NOTHING = object()
_COUNTS = frozenset(
    (
        *("minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"),
        *("minProperties", "maxProperties"),
    )
)
_IS_SOUND: Mapping[str, Callable[[Any], bool]] = {
    "enum": lambda value: isinstance(value, list) and bool(value),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), _is_number),
    # draft 4's are true or false
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), lambda value: isinstance(value, int | float)),
    **dict.fromkeys(("pattern", "format", "$ref"), lambda value: isinstance(value, str)),
}
"""The scalar keywords, and whether a value is of their kind."""
