"""`WrittenValues`: rules of values in notations that aren't JSON; Python's is one. Pure.

It holds what can be said of a value by itself: types, enumerations, members, bounds of lists and of strings.
A number's bounds are held by `%json`. A rule is written once for each schema, so that schemas may be
recursive.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.parameter_schema import schema_types, string_terminal


class WrittenValues(ABC):
    """Writes the rules of the values of one answer. A notation says how it writes texts, keys and words."""

    comma = ", "
    words: Mapping[str, str] = {"true": "true", "false": "false", "null": "null"}
    """The notation's words for these values."""
    any_key: str
    """The Lark expression of a key that the schema doesn't name, with what stands behind it."""
    sort_key: Callable[[str], str] | None = None
    """The order of members: of this; None: the schema's."""

    def __init__(self, prefix: str) -> None:
        """The rules' names begin with `prefix`."""
        self.rules: list[str] = []
        self._prefix = prefix
        self._names: dict[str, str] = {}

    @abstractmethod
    def key(self, name: str) -> str:
        """Return the expression of a member's key, with what stands behind it."""

    @abstractmethod
    def text(self, rule: str, wanted: str | None) -> str:
        """Return the expression of a text that matches the terminal `wanted`; further rules begin `rule`."""

    @abstractmethod
    def literal_text(self, text: str) -> str:
        """Return the expression of exactly this text as a value."""

    def value_of(self, schema: object, root: Mapping[str, Any]) -> str:
        """Return the name of the rule of any value of this schema."""
        return self._rule(schema if isinstance(schema, Mapping) else {}, root, "any")

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
        name = self._names[key] = f"{self._prefix}_{lark.letters(len(self._names))}"
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
                    return " | ".join(self.value_of(found, root) for found in branches)
            types = schema_types(schema, root.get("$defs") or root.get("definitions") or {})
            types = types - {"integer"} if "number" in types else types
            if len(types) == 1:
                return self._body(schema, root, next(iter(types)), name)
            return " | ".join(self._rule(schema, root, found) for found in sorted(types))
        match kind:
            case "object":
                return self._object(schema, root, name)
            case "array":
                return self._array(schema, root)
            case "string":
                return self.text(name, string_terminal(schema))
            case "boolean":
                return f"{lark.quoted(self.words['true'])} | {lark.quoted(self.words['false'])}"
            case "null":
                return lark.quoted(self.words["null"])
            case _:
                return lark.json_rule({**schema, "type": kind})

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any], name: str) -> str:
        properties, required = schema.get("properties") or {}, schema.get("required") or ()
        comma = lark.quoted(self.comma)
        needed: list[str] = []
        optional: list[str] = []
        for key in sorted(properties, key=self.sort_key) if self.sort_key is not None else properties:
            member = f"{self.key(key)} {self.value_of(properties[key], root)}"
            (needed if key in required else optional).append(member)
        other = schema.get("additionalProperties", not properties)
        if other is not False and not (properties and other is True):
            found = self.value_of(other, root)
            self.rules.append(f"{name}_other: {self.any_key} {found}")
            last = f"({comma} {name}_other)*"
            firsts = [f"{name}_other {last}"]
        else:
            last, firsts = "", []
        if needed:
            tail = " ".join(f"({comma} {member})?" for member in optional)
            return f'"{{" {f" {comma} ".join(needed)} {tail} {last} "}}"'
        for place, member in enumerate(optional):
            tail = " ".join(f"({comma} {later})?" for later in optional[place + 1 :])
            firsts.append(f"{member} {tail} {last}")
        members = f"({' | '.join(firsts)})?" if firsts else ""
        return f'"{{" {members} "}}"'

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        item = self.value_of(schema.get("items"), root)
        shortest, longest = schema.get("minItems") or 0, schema.get("maxItems")
        if longest == 0:
            return '"[" "]"'
        bounds = f"{{{max(shortest - 1, 0)},{'' if longest is None else longest - 1}}}"
        more = f"{item} ({lark.quoted(self.comma)} {item}){bounds}"
        return f'"[" {more} "]"' if shortest else f'"[" ({more})? "]"'

    def _literal(self, value: object) -> str:
        if isinstance(value, str):
            return self.literal_text(value)
        if isinstance(value, bool) or value is None:
            return lark.quoted(self.words[json.dumps(value)])
        if isinstance(value, Mapping):
            members = [f"{self.key(key)} {self._literal(found)}" for key, found in value.items()]
            return f'"{{" {f" {lark.quoted(self.comma)} ".join(members)} "}}"'
        if isinstance(value, list):
            items = [self._literal(found) for found in value]
            return f'"[" {f" {lark.quoted(self.comma)} ".join(items)} "]"'
        return lark.json_rule({"const": value})


class PythonValues(WrittenValues):
    """Python's notation, which templates make of values that they print: `{'a': True}`."""

    words: Mapping[str, str] = {"true": "True", "false": "False", "null": "None"}
    any_key = r"""/'[^'\\\x00-\x1f\x7f]{0,64}': /"""

    def key(self, name: str) -> str:
        return lark.quoted(f"{name!r}: ")

    def text(self, rule: str, wanted: str | None) -> str:
        """Return the expression of a text; one that has to match something has no escapes."""
        terminal = f"{rule}_text".upper()
        if wanted:
            self.rules.append(rf"""{terminal}: "'" (/[^'\\\x00-\x1f\x7f]*/ & {wanted}) "'" """)
        else:
            inner = r"\\\x00-\x1f\x7f]|\\[\\'nrt])*"
            self.rules.append(f"""{terminal}: /'([^'{inner}'/ | /"([^"{inner}"/""")
        return terminal

    def literal_text(self, text: str) -> str:
        return lark.quoted(repr(text))
