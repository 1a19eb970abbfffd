"""`negated`: a schema of values that don't match another, where schemas can say that. Pure.

It allows only what the other refuses, and nearly all of it: where the rest can't be said (numbers between
values that lie close together, say) it is left out, so what it allows is right.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from server.worker.constraints.schema.fraction import FRACTION
from server.worker.constraints.schema.references import KEYWORDS, Node, References
from server.worker.constraints.schema.values import TYPES, all_but, type_of, types_of

_MAX_DEPTH = 12
_MAX_TEXT = 100
_LEAST_GAP = 1e-6
"""Numbers between values that are closer aren't said."""
_MAX_GAPS = 100
"""Between more numbers than these only gaps with a whole number are."""

_BOUNDS = {
    "minimum": ("number", "exclusiveMaximum"),
    "maximum": ("number", "exclusiveMinimum"),
    "exclusiveMinimum": ("number", "maximum"),
    "exclusiveMaximum": ("number", "minimum"),
}
_COUNTS = {
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
    "maxProperties": ("object", "minProperties", 1),
}
ANNOTATIONS = frozenset(
    {
        "$id",
        "id",
        "$schema",
        "$anchor",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "nullable",
        "contentMediaType",
        "contentEncoding",
    }
)


def negated(node: Node, references: References, depth: int = 0) -> Any:
    """Return a schema of what `node` refuses. Raises RequestError naming what has no opposite."""
    schema = node.schema
    if isinstance(schema, bool):
        return not schema
    if depth > _MAX_DEPTH or not isinstance(schema, dict):
        node.place.refuse("its opposite can't be written down")
    options: list[Any] = []
    for keyword in schema:
        if keyword not in ANNOTATIONS:
            options += _opposites(node, keyword, references, depth)
    return {"anyOf": options} if options else False


def _opposites(node: Node, keyword: str, references: References, depth: int) -> list[Any]:
    value, place = node.schema[keyword], node.place.at(keyword)
    if keyword == "type":
        others = [name for name in TYPES if name not in types_of(node.schema)]
        fractions = []
        if "number" in others and "integer" not in others:
            others.remove("number")
            fractions = [FRACTION]
        return [*([{"type": others}] if others else []), *fractions]
    if keyword in ("const", "enum"):
        return _other_values(value if keyword == "enum" else [value], node)
    if keyword in _BOUNDS and not isinstance(value, bool):
        kind, opposite = _BOUNDS[keyword]
        return [{"type": kind, opposite: value}]
    if keyword in _COUNTS and isinstance(value, int):
        kind, opposite, more = _COUNTS[keyword]
        return [{"type": kind, opposite: value + more}] if value + more >= 0 else []
    if keyword == "multipleOf" and value == 1 and not isinstance(value, bool):
        return [FRACTION]
    if keyword == "required":
        return [{"type": "object", "properties": {key: False}} for key in value]
    if keyword == "properties":
        members = ((key, negated(node.child(keyword, key), references, depth + 1)) for key in value)
        return [{"type": "object", "required": [key], "properties": {key: other}} for key, other in members]
    if keyword == "not":
        return [node.schema["not"]] if not _has_references(value) else place.refuse("it has a $ref inside")
    if keyword in ("anyOf", "allOf"):
        parts = [negated(node.child(keyword, i), references, depth + 1) for i in range(len(value))]
        return [{"allOf": parts}] if keyword == "anyOf" else parts
    if keyword in KEYWORDS:
        return [negated(references.target(node, keyword), references, depth + 1)]
    return place.refuse("its opposite can't be written down")


def _other_values(values: list[Any], node: Node) -> list[Any]:
    kinds = {type_of(value) for value in values}
    if kinds & {"array", "object"}:
        node.place.refuse("'not' an array or object of given value")
    free = [name for name in TYPES if name not in kinds and name not in ("integer", "number")]
    options: list[Any] = [{"type": free}] if free else []
    texts = [value for value in values if isinstance(value, str)]
    if texts:
        if max(map(len, texts)) > _MAX_TEXT:
            node.place.refuse(f"the opposite of a text of more than {_MAX_TEXT} characters")
        options.append({"type": "string", "pattern": all_but(texts)})
    if "boolean" in kinds:
        options.append(
            {"enum": [flag for flag in (True, False) if not any(value is flag for value in values)]}
        )
        options = [option for option in options if option.get("enum") != []]
    numbers = sorted({value for value in values if type_of(value) in ("integer", "number")})
    if not numbers:
        return [*options, {"type": "number"}]
    options.append({"type": "number", "exclusiveMaximum": numbers[0]})
    options.append({"type": "number", "exclusiveMinimum": numbers[-1]})
    between = [{"type": "number", "exclusiveMinimum": a, "exclusiveMaximum": b} for a, b in pairwise(numbers)]
    least = _LEAST_GAP if len(between) <= _MAX_GAPS else 1
    return options + [gap for gap in between if gap["exclusiveMaximum"] - gap["exclusiveMinimum"] > least]


def _has_references(schema: Any) -> bool:
    if isinstance(schema, dict):
        return any(key in KEYWORDS or _has_references(value) for key, value in schema.items())
    return isinstance(schema, list) and any(map(_has_references, schema))
