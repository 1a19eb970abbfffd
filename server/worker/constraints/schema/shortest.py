"""`Shortest`: how many characters the shortest text of a rewritten schema has at least. Pure.

Where schemas hold together the longest counts, so no text is shorter, though it may be longer. A schema that
only endless values match, or none, has a shortest text of endless length.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator
from typing import Any

from server.worker.constraints.schema.repetitions import least_length
from server.worker.constraints.schema.values import types_of

PREFIX = "#/$defs/"
_MEMBER = len('"":0')
_SCALARS = {"null": 4, "boolean": 4, "integer": 1, "number": 1}


class Shortest:
    """The lengths for one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._definitions: dict[str, Any] = document.get("$defs", {})
        self._lengths: dict[str, float] = dict.fromkeys(self._definitions, math.inf)
        self._patterns: dict[str, int] = {}
        self._settle()

    def definition(self, schema: dict[str, Any]) -> Any:
        """Return what the reference of a schema leads to; None if it has none."""
        return self._definitions.get(schema["$ref"].removeprefix(PREFIX)) if "$ref" in schema else None

    def length(self, schema: Any) -> float:
        """Return the least length of a text of the schema."""
        if isinstance(schema, bool):
            return 1 if schema else math.inf
        lengths = [0.0]
        if "$ref" in schema:
            lengths.append(self._lengths.get(schema["$ref"].removeprefix(PREFIX), 0))
        lengths += map(self.length, schema.get("allOf", ()))
        if "anyOf" in schema:
            lengths.append(min(map(self.length, schema["anyOf"]), default=math.inf))
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            lengths.append(
                min(len(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) for value in values)
            )
        else:
            lengths.append(min(self.of_type(schema, kind) for kind in types_of(schema)))
        return max(lengths)

    def of_type(self, schema: dict[str, Any], kind: str) -> float:
        """Return the least length of a text of the schema that is of a type."""
        match kind:
            case "string":
                return 2.0 + max(int(schema.get("minLength", 0)), self._pattern(schema.get("pattern")))
            case "array":
                return 2 + sum(self.items(schema)) + max(0, int(schema.get("minItems", 0)) - 1)
            case "object":
                members = list(self.members(schema).values())
                more = max(0, int(schema.get("minProperties", 0)) - len(members))
                return 2 + sum(members) + _MEMBER * more + max(0, len(members) + more - 1)
            case _:
                return _SCALARS[kind]

    def items(self, schema: dict[str, Any]) -> Iterator[float]:
        """Yield the lengths of the items that must be; those behind the first ones are one number."""
        first, n = schema.get("prefixItems", []), schema.get("minItems", 0)
        yield from map(self.length, first[:n])
        if n > len(first):
            yield (n - len(first)) * self.length(schema.get("items", True))

    def members(self, schema: dict[str, Any]) -> dict[str, float]:
        """Return the lengths of the properties that must be, by name."""
        properties = schema.get("properties", {})
        found: dict[str, float] = {}
        for name in schema.get("required", ()):
            if name in properties:
                value = self.length(properties[name])
            else:
                others = [
                    schema.get("additionalProperties", True),
                    *schema.get("patternProperties", {}).values(),
                ]
                value = min(map(self.length, others))
            found[name] = len(json.dumps(name, ensure_ascii=False)) + 1 + value
        return found

    def _pattern(self, expression: str | None) -> int:
        if expression is None:
            return 0
        if expression not in self._patterns:
            self._patterns[expression] = least_length(expression)
        return self._patterns[expression]

    def _settle(self) -> None:
        """Find the definitions' lengths, the shortest first: none depends on a longer one."""
        users: dict[str, list[str]] = {}
        for name, schema in self._definitions.items():
            for used in set(references(schema)):
                users.setdefault(used, []).append(name)
        waiting = [(self.length(schema), name) for name, schema in self._definitions.items()]
        heapq.heapify(waiting)
        while waiting:
            length, name = heapq.heappop(waiting)
            if length >= self._lengths[name]:
                continue
            self._lengths[name] = length
            for user in users.get(name, ()):
                if (better := self.length(self._definitions[user])) < self._lengths[user]:
                    heapq.heappush(waiting, (better, user))


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that a rewritten schema refers to."""
    if isinstance(schema, list):
        for each in schema:
            yield from references(each)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(PREFIX)
            elif key in ("properties", "patternProperties"):
                yield from references(list(value.values()))
            elif key in ("items", "prefixItems", "additionalProperties", "allOf", "anyOf"):
                yield from references(value)
