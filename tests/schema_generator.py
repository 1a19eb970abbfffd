"""`schemas`: random JSON schemas with every keyword that is held, for walks, models and the real clients.

Each schema has at least one value. Numbers avoid what Python's `jsonschema` computes inexactly (0.3 is no
multiple of 0.1 there).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_WORDS = (
    "name",
    "age",
    "city",
    "kind",
    "tags",
    "size",
    "é",
    "a b",
    "x-1",
    'q"q',
    "line\nend",
    "日本",
    "id",
    "note",
)
_FORMATS = (
    "date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "iri",
    "json-pointer", "relative-json-pointer", "idn-email", "idn-hostname", "uri-reference", "iri-reference",
    "int32",
)  # fmt: skip
_PATTERNS = (
    "^[a-z]{2,5}$",
    "[0-9]",
    "^(foo|bar)+$",
    r"^\d{3}-\w*$",
    "a.c",
    "^[^x]{1,4}$",
    r"^\s?[A-Z]",
    "ü|ö",
)


def schemas(n: int = 300, seed: int = 12) -> list[Schema]:
    """Return `n` schemas, the same for the same seed. Each keyword comes about equally often."""
    rng = random.Random(seed)
    makers = _Maker(rng)
    kinds = makers.kinds()
    return [makers.root(kinds[index % len(kinds)]) for index in range(n)]


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def kinds(self) -> list[Callable[[], Schema]]:
        """Return the makers of schemas, in an order of its own."""
        return [
            self._text, self._pattern, self._format, self._integer, self._number, self._draft4,
            self._multiple, self._values, self._const, self._simple, self._list, self._tuple,
            self._old_tuple, self._contains, self._unique, self._object, self._closed, self._map,
            self._patterns, self._named, self._counted, self._dependent, self._dependent_schema,
            self._all_of, self._any_of, self._one_of, self._tagged, self._overlapping, self._not,
            self._condition, self._recursive, self._referring, self._anchored, self._unevaluated,
            self._types, self._nested,
        ]  # fmt: skip

    def root(self, make: Callable[[], Schema]) -> Schema:
        """Return a schema of one kind: itself, or inside of an object, with annotations."""
        schema = make()
        if "$defs" in schema or "$id" in schema or self._rng.random() < 0.5:
            return schema
        annotations = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "x-own": [1]}
        return {**annotations, "type": "object", "properties": {"value": schema}, "required": ["value"]}

    def _pick(self, *options: Any) -> Any:
        return self._rng.choice(options)

    def _leaf(self) -> Schema:
        makers = (self._text, self._integer, self._values, self._simple, self._pattern)
        return self._rng.choice(makers)()

    def _words(self, n: int) -> list[str]:
        return self._rng.sample(_WORDS, n)

    def _text(self) -> Schema:
        low = self._rng.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + self._rng.randrange(6)}

    def _pattern(self) -> Schema:
        return {"type": "string", "pattern": self._pick(*_PATTERNS), "maxLength": 9}

    def _format(self) -> Schema:
        return {"type": "string", "format": self._pick(*_FORMATS)}

    def _integer(self) -> Schema:
        low = self._rng.randrange(-500, 500)
        bound = self._pick({"minimum": low}, {"exclusiveMinimum": low}, {})
        return {
            "type": "integer",
            **bound,
            self._pick("maximum", "exclusiveMaximum"): low + 2 + self._rng.randrange(90),
        }

    def _number(self) -> Schema:
        low = self._rng.randrange(-50, 50) / 4
        return {"type": "number", "minimum": low, "exclusiveMaximum": low + self._rng.randrange(1, 9) / 2}

    def _draft4(self) -> Schema:
        low = self._rng.randrange(9)
        return {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "integer", "minimum": low, "exclusiveMinimum": True, "maximum": low + 9,
        }  # fmt: skip

    def _multiple(self) -> Schema:
        return {"type": "integer", "multipleOf": self._pick(2, 3, 7, 10), "minimum": 0, "maximum": 1000}

    def _values(self) -> Schema:
        values = [*self._words(3), 1, 2.5, -3, None, True, ["x", 1], {"k": "v", "l": [False]}]
        return {"enum": self._rng.sample(values, self._rng.randrange(1, 5))}

    def _const(self) -> Schema:
        return {"const": self._pick("x", 'a"b\\c', 0, -1.5, None, False, [1, [2]], {"a": {"b": 1}}, "")}

    def _simple(self) -> Schema:
        return {"type": self._pick("boolean", "null")}

    def _list(self) -> Schema:
        low = self._rng.randrange(3)
        return {
            "type": "array",
            "items": self._leaf(),
            "minItems": low,
            "maxItems": low + self._rng.randrange(3),
        }

    def _tuple(self) -> Schema:
        first = [self._leaf() for _ in range(2)]
        return {
            "type": "array",
            "prefixItems": first,
            "items": self._pick(False, self._leaf()),
            "minItems": 1,
        }

    def _old_tuple(self) -> Schema:
        first = [self._leaf() for _ in range(2)]
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "array", "items": first, "additionalItems": self._pick(False, self._leaf()),
            "minItems": 2,
        }  # fmt: skip

    def _contains(self) -> Schema:
        bounds = self._pick({}, {"minContains": 2}, {"maxContains": 2}, {"minContains": 0})
        return {
            "type": "array",
            "items": {"type": ["integer", "string"]},
            "contains": {"type": "integer"},
            **bounds,
        }

    def _unique(self) -> Schema:
        low = self._rng.randrange(3)
        return {"type": "array", "items": {"enum": self._words(4)}, "uniqueItems": True, "minItems": low}

    def _object(self) -> Schema:
        names = self._words(self._rng.randrange(1, 5))
        required = self._rng.sample(names, self._rng.randrange(len(names) + 1))
        return {"type": "object", "properties": {name: self._leaf() for name in names}, "required": required}

    def _closed(self) -> Schema:
        return {**self._object(), "additionalProperties": self._pick(False, self._leaf())}

    def _map(self) -> Schema:
        return {"type": "object", "additionalProperties": self._leaf(), "maxProperties": 3}

    def _patterns(self) -> Schema:
        patterns = {"^s_": self._text(), "^n_[0-9]+$": self._integer()}
        return {
            "type": "object",
            "patternProperties": patterns,
            "additionalProperties": self._pick(False, True),
        }

    def _named(self) -> Schema:
        names = self._pick(
            {"pattern": "^[a-z]+$"}, {"enum": ["a", "b c"]}, {"maxLength": 3}, {"type": "string"}
        )
        return {"type": "object", "propertyNames": names, "additionalProperties": self._leaf()}

    def _counted(self) -> Schema:
        names = self._words(3)
        return {"type": "object", "properties": {name: self._leaf() for name in names}, "minProperties": 1}

    def _dependent(self) -> Schema:
        one, other, third = self._words(3)
        keyword = self._pick("dependentRequired", "dependencies")
        draft = (
            {} if keyword == "dependentRequired" else {"$schema": "http://json-schema.org/draft-07/schema#"}
        )
        properties = {one: self._leaf(), other: self._leaf(), third: self._leaf()}
        return {**draft, "type": "object", "properties": properties, keyword: {one: [other]}}

    def _dependent_schema(self) -> Schema:
        one, other = self._words(2)
        then = {"properties": {other: {"type": "integer"}}, "required": [other]}
        return {"type": "object", "properties": {one: self._simple()}, "dependentSchemas": {one: then}}

    def _all_of(self) -> Schema:
        one, other = self._words(2)
        first = {"type": "object", "properties": {one: {"type": "integer"}}, "required": [one]}
        second = {
            "properties": {one: {"minimum": 5, "maximum": 99}, other: self._leaf()},
            "required": [other],
        }
        return {"allOf": [first, second]}

    def _any_of(self) -> Schema:
        return {"anyOf": [self._leaf(), self._list(), self._object(), {"type": "null"}]}

    def _one_of(self) -> Schema:
        return {
            "oneOf": [self._text(), self._integer(), {"type": "null"}, {"type": "integer", "minimum": 5000}]
        }

    def _tagged(self) -> Schema:
        definitions = {
            name: {
                "type": "object",
                "properties": {"kind": {"const": name}, "value": self._leaf()},
                "required": ["kind"],
            }
            for name in ("cat", "dog", "cow")
        }
        return {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in definitions], "$defs": definitions}

    def _overlapping(self) -> Schema:
        return {"oneOf": [{"type": "integer", "minimum": 3}, {"type": "integer", "maximum": 20}]}

    def _not(self) -> Schema:
        schema: Schema = self._pick(
            {"type": "string", "not": {"enum": ["ab", "abc", ""]}},
            {"type": "integer", "minimum": 0, "maximum": 9, "not": {"const": 4}},
            {"not": {"type": ["object", "array"]}},
            {"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a", "b"]}},
            {"type": "string", "maxLength": 9, "not": {"maxLength": 3}},
        )
        return schema

    def _condition(self) -> Schema:
        kind = {"enum": ["box", "bag", "jar"]}
        return {
            "type": "object",
            "properties": {"kind": kind, "size": {"type": "integer"}},
            "required": ["kind"],
            "if": {"properties": {"kind": {"const": "box"}}},
            "then": {"required": ["size"], "properties": {"size": {"minimum": 10}}},
            "else": self._pick({"properties": {"size": {"maximum": 5}}}, True),
        }

    def _recursive(self) -> Schema:
        node = {"type": "object", "properties": {"v": self._leaf(), "next": {"$ref": "#/$defs/node"}}}
        return {"$ref": "#/$defs/node", "$defs": {"node": {**node, "required": ["v"]}}}

    def _referring(self) -> Schema:
        definitions = {"a/b": self._leaf(), "c~d": self._list(), "e f": {"$ref": "#/definitions/a~1b"}}
        references = ("#/definitions/a~1b", "#/definitions/c~0d", "#/definitions/e%20f")
        return {
            "type": "array",
            "items": {"$ref": self._pick(*references)},
            "maxItems": 2,
            "definitions": definitions,
            "$defs": {},
        }

    def _anchored(self) -> Schema:
        return {
            "$id": "https://example.org/root.json",
            "type": "object",
            "properties": {"a": {"$ref": "#here"}, "b": {"$ref": "other.json"}},
            "required": ["a", "b"],
            "$defs": {
                "h": {"$anchor": "here", **self._text()},
                "o": {"$id": "other.json", "$ref": "#/$defs/x", "$defs": {"x": self._integer()}},
            },
        }

    def _unevaluated(self) -> Schema:
        return {**self._object(), "unevaluatedProperties": False}

    def _types(self) -> Schema:
        return {"type": ["string", "integer", "null"], "maxLength": 3, "minimum": 7, "maximum": 70}

    def _nested(self) -> Schema:
        schema: Schema = {"type": "boolean"}
        for depth in range(self._rng.randrange(3, 20)):
            name = f"n{depth}"
            schema = {
                "type": "object",
                "properties": {name: schema},
                "required": [name],
                "additionalProperties": False,
            }
        return schema
