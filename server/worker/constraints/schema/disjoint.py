"""`are_disjoint`: a proof that no value can match two schemas, for `oneOf`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from server.worker.constraints.schema.negation import ANNOTATIONS
from server.worker.constraints.schema.references import KEYWORDS, Node, References
from server.worker.constraints.schema.values import same, type_of, types_of

_MAX_DEPTH = 8


def are_disjoint(one: Node, other: Node, references: References, depth: int = 0) -> bool:
    """Return True if it is certain that no value matches both."""
    if one.schema is False or other.schema is False:
        return True
    if depth > _MAX_DEPTH or not isinstance(one.schema, dict) or not isinstance(other.schema, dict):
        return False
    if _plainly(one, other, references, depth):
        return True
    return any(
        all(are_disjoint(option, whole, references, depth + 1) for option in options)
        for part, whole in ((one, other), (other, one))
        for options in _conditions(part, references)
    )


def listed_values(node: Node) -> list[Any] | None:
    """Return the values of a schema that lists them and says nothing else; None: it is no such schema."""
    if not isinstance(node.schema, dict) or node.schema.keys() - ANNOTATIONS not in ({"const"}, {"enum"}):
        return None
    return _values(node)


def _conditions(node: Node, references: References) -> Iterator[list[Node]]:
    """Yield lists of schemas; a value that matches `node` matches at least one of each list."""
    for keyword in KEYWORDS:
        if keyword in node.schema:
            yield [references.target(node, keyword)]
    for index in range(_length(node, "allOf")):
        yield [node.child("allOf", index)]
    for keyword in ("anyOf", "oneOf"):
        if _length(node, keyword):
            yield [node.child(keyword, index) for index in range(_length(node, keyword))]


def _length(node: Node, keyword: str) -> int:
    members = node.schema.get(keyword)
    return len(members) if isinstance(members, list) else 0


def _plainly(one: Node, other: Node, references: References, depth: int) -> bool:
    common = _types(one) & _types(other)
    if not common:
        return True
    values, others = _values(one), _values(other)
    if values is not None and others is not None:
        return not any(same(a, b) for a in values for b in others)
    if common <= {"integer", "number"}:
        return _bounds(one)[1] < _bounds(other)[0] or _bounds(other)[1] < _bounds(one)[0]
    if common == {"object"}:
        return any(
            are_disjoint(_property(one, key), _property(other, key), references, depth + 1)
            for key in dict.fromkeys([*_required(one), *_required(other)])
        )
    return False


def _types(node: Node) -> frozenset[str]:
    values = _values(node)
    if values is None:
        return types_of(node.schema)
    return frozenset(type_of(value) for value in values) & types_of(node.schema)


def _values(node: Node) -> list[Any] | None:
    if "const" in node.schema:
        return [node.schema["const"]]
    values = node.schema.get("enum")
    return values if isinstance(values, list) else None


def _bounds(node: Node) -> tuple[float, float]:
    low, high = (node.schema.get(keyword) for keyword in ("minimum", "maximum"))
    is_number = (isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (low, high))
    has_low, has_high = is_number
    return (low if has_low else float("-inf")), (high if has_high else float("inf"))


def _required(node: Node) -> list[str]:
    required = node.schema.get("required")
    return [key for key in required if isinstance(key, str)] if isinstance(required, list) else []


def _property(node: Node, key: str) -> Node:
    """Return the schema that the property must match, as far as it is plain to see."""
    properties = node.schema.get("properties")
    if isinstance(properties, dict) and key in properties:
        return node.child("properties", key)
    if node.schema.get("additionalProperties") is False and not node.schema.get("patternProperties"):
        return Node(False, node.base, node.place)
    return Node(True, node.base, node.place)
