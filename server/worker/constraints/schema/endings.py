"""`ending_fault`: the part of a schema whose values are endless, or longer than any answer. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from server.worker.constraints.schema.limits import MAX_SHORTEST, Place
from server.worker.constraints.schema.shortest import Shortest

PlaceOf = Callable[[Any], Place | None]
"""It returns the place at which the client sent a rewritten schema, if it is one of the client's."""


class Fault(NamedTuple):
    """The place of a subschema that no answer can follow to an end, the keyword that says so, and why."""

    place: Place
    keyword: str | None
    problem: str


def ending_fault(document: dict[str, Any], place: Place, place_of: PlaceOf) -> Fault | None:
    """Return why values of a rewritten schema can't be finished; None if they can.

    Parts that no finite value matches and that needn't come become false.
    """
    shortest = Shortest(document)
    if shortest.length(document) == math.inf:
        return _endless(document, place, shortest, place_of)
    for schema in (*sorted(document.get("$defs", {}).values(), key=shortest.length), document):
        _forbid(schema, shortest, place_of)
        if (fault := _long(schema, place, shortest, place_of)) is not None:
            return fault
    return None


def _forbid(schema: Any, shortest: Shortest, place_of: PlaceOf) -> None:
    """Replace the parts of a schema that no finite value matches, and too long ones that no client wrote."""
    for holder, key in _parts(schema):
        place, length = place_of(holder[key]), shortest.length(holder[key])
        is_ours = place is not None and place.is_whole
        if length == math.inf or (is_ours and length > MAX_SHORTEST):
            holder[key] = False
        else:
            _forbid(holder[key], shortest, place_of)


def _long(schema: Any, place: Place, shortest: Shortest, place_of: PlaceOf) -> Fault | None:
    """Return the fault of the innermost part whose values are too long."""
    if not isinstance(schema, dict):
        return None
    place = place_of(schema) or place
    for holder, key in _parts(schema):
        if (fault := _long(holder[key], place, shortest, place_of)) is not None:
            return fault
    length = shortest.length(schema)
    if length <= MAX_SHORTEST or length == math.inf:
        return None
    problem = (
        f"each of its values has at least {int(length):,} characters; the limit is {MAX_SHORTEST:,}; lower "
        "the bounds of lengths and counts here or in what is within"
    )
    return Fault(place, _bound(schema, shortest), problem)


def _bound(schema: dict[str, Any], shortest: Shortest) -> str | None:
    """Return the keyword that makes a schema's texts long."""
    kinds = {
        "string": ("minLength", "pattern"),
        "array": ("minItems",),
        "object": ("minProperties", "required"),
    }
    for kind, keywords in kinds.items():
        if any(keyword in schema for keyword in keywords) and shortest.of_type(schema, kind) > MAX_SHORTEST:
            return next(keyword for keyword in keywords if keyword in schema)
    return None


def _parts(schema: Any) -> Iterator[tuple[Any, Any]]:
    """Yield holder and key of each schema within a rewritten one."""
    if not isinstance(schema, dict):
        return
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield schema, keyword
    for keyword in ("properties", "patternProperties"):
        for name in schema.get(keyword, ()):
            yield schema[keyword], name
    for keyword in ("prefixItems", "allOf", "anyOf"):
        for index in range(len(schema.get(keyword, ()))):
            yield schema[keyword], index


def _endless(document: Any, place: Place, shortest: Shortest, place_of: PlaceOf) -> Fault:
    """Return the fault of the part where each value goes on for ever."""
    seen: list[int] = []
    schema = document
    while isinstance(schema, dict) and id(schema) not in seen:
        seen.append(id(schema))
        place = place_of(schema) or place
        unlisted = _unlisted(schema)
        if unlisted:
            problem = (
                f"no value matches it: 'required' names '{unlisted[0]}', which 'properties' doesn't, and "
                "'additionalProperties' is false; add it to 'properties', or leave it out of 'required'"
            )
            return Fault(place, "required", problem)
        schema = _endless_part(schema, shortest)
    if schema is False:
        return Fault(
            place, None, "no value matches it; leave out what forbids all values, or what asks for one"
        )
    return Fault(
        place, None, "no finite value matches it; let what refers to itself be optional, or null, or empty"
    )


def _endless_part(schema: dict[str, Any], shortest: Shortest) -> Any:
    """Return the part of an endless schema that makes it so; None if it isn't a single one."""
    definition = shortest.definition(schema)
    if definition is not None and shortest.length(definition) == math.inf:
        return definition
    parts = [*schema.get("allOf", ())]
    options = schema.get("anyOf", ())
    if options and all(shortest.length(option) == math.inf for option in options):
        parts += sorted(options, key=lambda option: option is False)[:1]
    properties, n = schema.get("properties", {}), schema.get("minItems", 0)
    parts += [properties[name] for name in schema.get("required", ()) if name in properties]
    if schema.get("required"):
        parts.append(schema.get("additionalProperties", True))
    first = schema.get("prefixItems", [])
    parts += first[:n]
    if n > len(first):
        parts.append(schema.get("items", True))
    return next((part for part in parts if shortest.length(part) == math.inf), None)


def _unlisted(schema: dict[str, Any]) -> list[str]:
    """Return the names that an object requires and forbids."""
    if schema.get("additionalProperties") is not False or schema.get("patternProperties"):
        return []
    return [name for name in schema.get("required", ()) if name not in schema.get("properties", {})]
