"""`NestedElements`: rules of values whose objects and lists are nested elements. Pure.

Members come in the schema's order. A value without a type of its own is text, which is a string; null has no
form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import spelled
from server.chat.tool_formats.grammar.parameter_schema import Parameter, schema_types
from server.chat.tool_formats.tool_format import GrammarJob
from server.chat.tools import Tool


class NestedElements:
    """Writes the rules of the arguments of one answer's tools."""

    def __init__(self, job: GrammarJob, token: str) -> None:
        self.rules: list[str] = []
        self._job = job
        self._token = token
        self._names: dict[str, str] = {}

    def members_of(self, tool: Tool) -> str:
        """Return the expression of a call's arguments."""
        return self._members({"type": "object", **tool.parameters}, tool.parameters)

    def _element(self, key: str, schema: object, root: Mapping[str, Any]) -> str:
        """Return the name of the rule of an element with a value of this schema."""
        known = schema if isinstance(schema, dict) else {}
        reference = known.get("$ref")
        definitions = root.get("$defs") or root.get("definitions") or {}
        if isinstance(reference, str):
            target = definitions.get(reference.rsplit("/", 1)[-1])
            known = target if isinstance(target, dict) else {}
        written = json.dumps([key, known, id(root)], sort_keys=True)
        if written in self._names:
            return self._names[written]
        name = self._names[written] = f"element_{lark.letters(len(self._names))}"
        opening = spelled(self._job, f"{self._token}<{key}>")
        closing = f"{self._token}</{key}>"
        types = schema_types(known, definitions)
        values = []
        if "object" in types and len(types) < 7 and "enum" not in known:
            values.append(f"{self._members(known, root)} {spelled(self._job, closing)}")
        if "array" in types and len(types) < 7 and "enum" not in known:
            values.append(f"{self._items(known, root)} {spelled(self._job, closing)}")
        scalars = types - {"object", "array", "null"}
        if scalars:
            schema = (
                dict(known) if "enum" in known or "const" in known else {**known, "type": sorted(scalars)}
            )
            for branch in ("anyOf", "oneOf"):
                schema.pop(branch, None)
            parameter = Parameter(key, schema, definitions=definitions)
            self.rules += parameter.rules(self._job, f"{name}_text", closing)
            values.append(f"{name}_text")
        self.rules.append(f"{name}: {opening} ({' | '.join(values) or spelled(self._job, closing)})")
        return name

    def _members(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        required = schema.get("required") or ()
        parts = [
            self._element(key, found, root) + ("" if key in required else "?")
            for key, found in (schema.get("properties") or {}).items()
        ]
        return " ".join(parts)

    def _items(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        shortest, longest = schema.get("minItems") or 0, schema.get("maxItems")
        item = self._element("item", schema.get("items"), root)
        return f"{item}{{{shortest},{'' if longest is None else longest}}}"
