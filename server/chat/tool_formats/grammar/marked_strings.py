"""`MarkedStrings`: rules of values whose strings stand between marks and whose keys are bare. Pure.

It holds what can be said of a value by itself: types, enumerations, members, bounds of lists and of strings.
A number's bounds are held by `%json`. References are followed once each, so that schemas may be recursive.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import spelled, text_then
from server.chat.tool_formats.grammar.parameter_schema import schema_types, string_terminal
from server.chat.tool_formats.tool_format import GrammarJob


class MarkedStrings:
    """Writes the rules of the arguments of one answer's tools."""

    def __init__(self, job: GrammarJob, quote: str) -> None:
        self.rules: list[str] = []
        self._job = job
        self._quote = quote
        self._names: dict[str, str] = {}

    def object_of(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        """Return the name of the rule of an object of this schema."""
        return self._rule({"type": "object", **schema}, root, "object")

    def _rule(self, schema: Mapping[str, Any], root: Mapping[str, Any], kind: str) -> str:
        """Return the name of the rule of `schema`, written once. `kind`: one type, or `any` of its types."""
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = (root.get("$defs") or root.get("definitions") or {}).get(reference.rsplit("/", 1)[-1])
            schema = target if isinstance(target, dict) else {}
        key = json.dumps([schema, kind, id(root)], sort_keys=True)
        if key in self._names:
            return self._names[key]
        name = self._names[key] = f"value_{rule_letters(len(self._names))}"
        self.rules.append(f"{name}: {self._body(schema, root, kind, name)}")
        return name

    def _body(self, schema: Mapping[str, Any], root: Mapping[str, Any], kind: str, name: str) -> str:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list) and values:
            return " | ".join(self._literal(value) for value in values)
        if kind == "any":
            for key in ("anyOf", "oneOf"):
                branches = schema.get(key)
                if isinstance(branches, list) and branches:
                    return " | ".join(self._rule(found, root, "any") for found in branches)
            types = schema_types(schema, root.get("$defs") or {})
            types = types - {"integer"} if "number" in types else types
            if len(types) == 1:
                return self._body(schema, root, next(iter(types)), name)
            return " | ".join(self._rule(schema, root, found) for found in sorted(types))
        if kind == "object":
            return self._object(schema, root, name)
        if kind == "array":
            return self._array(schema, root)
        if kind == "string":
            self.rules += text_then(self._job, f"{name}_text", string_terminal(schema), self._quote)
            return f"{spelled(self._job, self._quote)} {name}_text"
        return lark.json_rule({**schema, "type": kind})

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any], name: str) -> str:
        properties, required = schema.get("properties") or {}, schema.get("required") or ()
        needed: list[str] = []
        optional: list[str] = []
        for key in sorted(properties, key=str.lower):  # as `dictsort` of the templates
            member = f"{lark.quoted(key + ':')} {self._rule(properties[key], root, 'any')}"
            (needed if key in required else optional).append(member)
        other = schema.get("additionalProperties", not properties)
        if other is not False and not (properties and other is True):
            found = self._rule(other if isinstance(other, dict) else {}, root, "any")
            self.rules.append(f'{name}_other: /[a-zA-Z_][a-zA-Z0-9_]*/ ":" {found}')
            last = f'("," {name}_other)*'
            firsts = [f"{name}_other {last}"]
        else:
            last, firsts = "", []
        if needed:
            tail = " ".join(f'("," {member})?' for member in optional)
            return f'"{{" {_COMMA.join(needed)} {tail} {last} "}}"'
        for place, member in enumerate(optional):
            tail = " ".join(f'("," {later})?' for later in optional[place + 1 :])
            firsts.append(f"{member} {tail} {last}")
        members = f"({' | '.join(firsts)})?" if firsts else ""
        return f'"{{" {members} "}}"'

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        items = schema.get("items")
        item = self._rule(items if isinstance(items, dict) else {}, root, "any")
        shortest, longest = schema.get("minItems") or 0, schema.get("maxItems")
        if longest == 0:
            return '"[" "]"'
        bounds = f"{{{max(shortest - 1, 0)},{'' if longest is None else longest - 1}}}"
        more = f'{item} ("," {item}){bounds}'
        return f'"[" {more} "]"' if shortest else f'"[" ({more})? "]"'

    def _literal(self, value: object) -> str:
        if isinstance(value, str):
            quote = spelled(self._job, self._quote)
            return f"{quote} {lark.quoted(value)} {quote}" if value else f"{quote} {quote}"
        return lark.json_rule({"const": value})


_COMMA = ' "," '


def rule_letters(number: int) -> str:
    """Return a number in letters: names of rules have no digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))
