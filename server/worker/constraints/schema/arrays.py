"""The keywords of arrays, as llguidance holds them. Pure.

`contains` is held by the first items, `uniqueItems` by the list of all arrays where those are few.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

from server.worker.constraints.schema.limits import MAX_COUNT, Place
from server.worker.constraints.schema.negation import negated
from server.worker.constraints.schema.scalars import count
from server.worker.constraints.schema.values import TYPES, check_value, same, type_of, types_of

if TYPE_CHECKING:
    from server.worker.constraints.schema.rewrite import Rewriting

MAX_CONTAINS = 100
"""The highest `minContains`."""
MAX_ARRAYS = 400
"""With `uniqueItems` there may be so many arrays."""


def arrays(job: Rewriting) -> None:
    """Keep the keywords of arrays."""
    schema, place = job.node.schema, job.node.place
    first, rest = _items(job)
    at_least = count(schema.get("minItems", 0), place.at("minItems"), MAX_COUNT)
    at_most = count(schema["maxItems"], place.at("maxItems"), MAX_COUNT) if "maxItems" in schema else None
    if "contains" in schema:
        first, rest, at_least = _containing(job, first, rest, at_least)
    if first:
        job.plain["prefixItems"] = first
    if rest is not True:
        job.plain["items"] = rest
    if at_least:
        job.plain["minItems"] = at_least
    if at_most is not None:
        job.plain["maxItems"] = at_most
    _unique(job, at_least, at_most)


def _items(job: Rewriting) -> tuple[list[Any], Any]:
    """Return the schemas of the first items and that of the others, whichever draft says them."""
    node, schema = job.node, job.node.schema
    listed = "items" if isinstance(schema.get("items"), list) else "prefixItems"
    members = schema.get(listed, [])
    if not isinstance(members, list):
        node.place.at(listed).refuse("it must be a list of schemas")
    first = [job.rewrite(node.child(listed, index)) for index in range(len(members))]
    others = "additionalItems" if listed == "items" else "items"
    if others not in schema and "unevaluatedItems" in schema:
        others = "unevaluatedItems"
        applied = [key for key in ("allOf", "anyOf", "oneOf", "$ref", "if", "contains") if key in schema]
        if applied and schema[others] is not True:
            node.place.at(others).refuse(f"it stands beside '{applied[0]}'; use 'items' in the schemas there")
    return first, job.rewrite(node.child(others)) if others in schema else True


def _containing(job: Rewriting, first: list[Any], rest: Any, at_least: int) -> tuple[list[Any], Any, int]:
    """Return the items with the first of them being those that `contains` requires."""
    node, schema, place = job.node, job.node.schema, job.node.place
    n = count(schema.get("minContains", 1), place.at("minContains"), MAX_CONTAINS)
    found, limited = node.child("contains"), "maxContains" in schema
    if limited and count(schema["maxContains"], place.at("maxContains"), MAX_COUNT) < n:
        place.at("maxContains").refuse("it is below minContains")
    first = first + [rest] * (n - len(first))
    required = job.rewrite(found)
    head = [{"allOf": [item, required]} for item in first[:n]]
    tail = first[n:]
    if limited:
        other = job.rewrite_written(negated(found, job.rewriter.references), found)
        tail, rest = [{"allOf": [item, other]} for item in tail], {"allOf": [rest, other]}
    return head + tail, rest, max(at_least, n)


def _unique(job: Rewriting, at_least: int, at_most: int | None) -> None:
    schema, place = job.node.schema, job.node.place.at("uniqueItems")
    wanted = schema.get("uniqueItems", False)
    if not isinstance(wanted, bool):
        place.refuse("it must be true or false")
    if not wanted or (at_most is not None and at_most <= 1):
        return
    values = None if "prefixItems" in job.plain else _finite(job)
    most = 0 if values is None else min(len(values), len(values) if at_most is None else at_most)
    if values is None or _n_arrays(len(values), at_least, most) > MAX_ARRAYS:
        _refuse_unique(job, place)
        return
    check_value(values, place)
    lists = [list(chosen) for n in range(at_least, most + 1) for chosen in permutations(values, n)]
    if not lists:
        place.refuse(f"there are {len(values)} different items, and minItems is {at_least}")
    for keyword in ("items", "minItems", "maxItems"):
        job.plain.pop(keyword, None)
    job.more.append({"anyOf": [*job.other_types("array"), {"enum": lists}]})


def _refuse_unique(job: Rewriting, place: Place) -> None:
    problem = (
        "items must have an 'enum' of texts, numbers, true, false or null, so short that there are at most "
        f"{MAX_ARRAYS} arrays; leave it out, or list the items as properties of an object"
    )
    job.rewriter.attempt(place, problem)


def _n_arrays(n_values: int, at_least: int, at_most: int) -> int:
    total, arrays_of = 0, 1
    for n in range(at_most + 1):
        total += arrays_of if n >= at_least else 0
        arrays_of *= n_values - n
        if total > MAX_ARRAYS:
            break
    return total


def _finite(job: Rewriting) -> list[Any] | None:
    """Return the values that items can have, if the schema lists them: those that hold all it says."""
    item = job.node.child("items") if "items" in job.node.schema else None
    said: list[dict[str, Any]] = []
    while item is not None:
        schema = item.schema
        if not isinstance(schema, dict) or set(schema) - _LISTING or len(said) == _MAX_REFERENCES:
            return None
        said.append(schema)
        item = job.rewriter.references.target(item, "$ref") if "$ref" in schema else None
    values = next((listed for schema in said if (listed := _listed(schema)) is not None), None)
    if (
        values is None
        or len(values) > MAX_ARRAYS
        or not all(_is_plain(value) for value in values)
        or not all(map(_has_types, said))
    ):
        return None
    different: list[Any] = []
    for value in values:
        if all(_matches(value, schema) for schema in said) and not _is_among(value, different):
            different.append(value)
    return different


_LISTING = frozenset({"$ref", "enum", "const", "type", "title", "description"})
_MAX_REFERENCES = 8
_FEW: dict[str, list[Any]] = {"boolean": [True, False], "null": [None]}


def _listed(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    if isinstance(schema.get("enum"), list):
        return list(schema["enum"])
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(kinds, list) and kinds and all(isinstance(kind, str) and kind in _FEW for kind in kinds):
        return [value for kind in kinds for value in _FEW[kind]]
    return None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _has_types(schema: dict[str, Any]) -> bool:
    """Return True if `type`, if it is there, is one that JSON Schema has."""
    kinds: Any = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return isinstance(kinds, list) and all(kind in TYPES for kind in kinds)


def _matches(value: Any, schema: dict[str, Any]) -> bool:
    return (
        type_of(value) in types_of(schema)
        and ("const" not in schema or same(value, schema["const"]))
        and (not isinstance(schema.get("enum"), list) or _is_among(value, schema["enum"]))
    )


def _is_among(value: Any, values: list[Any]) -> bool:
    return any(same(value, other) for other in values)
