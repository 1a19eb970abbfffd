"""The keywords of arrays, as llguidance holds them. Pure.

`contains` is held by the first items, `uniqueItems` by the list of all arrays where those are few.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

from server.worker.constraints.schema.limits import MAX_COUNT, Place
from server.worker.constraints.schema.negation import negated
from server.worker.constraints.schema.references import Node
from server.worker.constraints.schema.scalars import count

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
    lists = [list(chosen) for n in range(at_least, most + 1) for chosen in permutations(values, n)]
    if not lists:
        place.refuse(f"there are {len(values)} different items, and minItems is {at_least}")
    for keyword in ("items", "minItems", "maxItems"):
        job.plain.pop(keyword, None)
    job.more.append({"anyOf": [*job.other_types("array"), {"enum": lists}]})


def _refuse_unique(job: Rewriting, place: Place) -> None:
    problem = (
        f"items must have an 'enum' so short that there are at most {MAX_ARRAYS} arrays; leave it out, "
        "or list the items as properties of an object"
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
    """Return the values that items can have, if the schema lists them."""
    node = job.node
    if "items" not in node.schema:
        return None
    item = node.child("items")
    for _ in range(8):
        if not isinstance(item.schema, dict) or set(item.schema) - _LISTING:
            return None
        if "$ref" not in item.schema:
            break
        item = job.rewriter.references.target(item, "$ref")
    return _listed(item)


_LISTING = frozenset({"$ref", "enum", "const", "type", "title", "description"})


def _listed(item: Node) -> list[Any] | None:
    schema = item.schema
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is None and schema.get("type") in ("boolean", ["boolean"]):
        values = [True, False]
    if not isinstance(values, list) or not all(isinstance(value, str | bool) for value in values):
        return None
    return list(dict.fromkeys(values)) if "type" not in schema or schema["type"] in _SIMPLE else None


_SIMPLE = ("string", "boolean")
