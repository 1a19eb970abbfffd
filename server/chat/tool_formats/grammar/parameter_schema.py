"""`Parameter`: one parameter of a tool, for formats that write its value as bare text. Pure.

A value of a string's type is the text itself; others are JSON. Where a schema allows both, text that is JSON
of another allowed type is that, and all else a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import spelled, text_then
from server.chat.tool_formats.grammar.loose_keywords import is_held
from server.chat.tool_formats.python_literal import python_literal
from server.chat.tool_formats.tool_format import GrammarJob
from server.chat.tools import Tool

_MAX_STEPS = 16
"""References and combinations are followed so many steps deep."""
_ALL_TYPES = frozenset(("string", "number", "integer", "boolean", "null", "array", "object"))
_LOOKS_LIKE_JSON = (
    r'(~/\s*([\[{"](?s:.*)|true|false|null|True|False|None|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?)\s*/)'
)


@dataclass(frozen=True)
class Parameter:
    """A parameter's name and schema, in which references to the tool's definitions are kept."""

    name: str
    schema: Mapping[str, Any]
    required: bool = False
    definitions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def types(self) -> frozenset[str]:
        """The JSON types that a value may have."""
        return schema_types(self.schema, self.definitions)

    @property
    def is_string(self) -> bool:
        """True if a value can only be a string."""
        return self.types == {"string"}

    @property
    def texts(self) -> list[str] | None:
        """The strings that a value may be, if the schema lists its values."""
        values = self._enumeration()
        return None if values is None else [value for value in values if isinstance(value, str)]

    @property
    def whole_schema(self) -> dict[str, Any]:
        """The schema with the definitions that it may refer to."""
        return {**self.schema, "$defs": dict(self.definitions)} if self.definitions else dict(self.schema)

    @property
    def structured_schema(self) -> dict[str, Any] | None:
        """The schema of those values that Python writes in another way than JSON; None: there are none."""
        values = self._enumeration()
        if values is not None:
            others = [value for value in values if isinstance(value, bool | list | dict) or value is None]
            return {"enum": others} if others else None
        types = self.types & {"object", "array", "boolean", "null"}
        return _only(self.schema, self.definitions, types) if types else None

    def json_of(self, text: str, *, is_string: bool | None = None) -> str:
        """Return the JSON of a value written as `text`; `is_string`: what the writing itself says."""
        if is_string is None:
            is_string = self.is_string
        if not is_string:
            value = _value(text)
            if value is not _NO_VALUE and (_type(value) & self.types or "string" not in self.types):
                return json.dumps(value, ensure_ascii=False) if not _is_json(text) else text.strip()
        return json.dumps(text, ensure_ascii=False)

    def rules(
        self, job: GrammarJob, name: str, closing: str, *, kind: str = "any", excluding: str = ""
    ) -> list[str]:
        """Return the rules of `name`: a value, and the mark behind it.

        `kind`: only a `string`, an `other` value, or `any`. `excluding`: a terminal of strings that may be.
        Strings and scalars are one terminal, since the lexer takes the longest that matches.
        """
        enumeration = self._enumeration()
        if enumeration is not None:
            values = [
                value
                for value in enumeration
                if kind == "any" or isinstance(value, str) == (kind == "string")
            ]
            texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
            return [f"{name}: {lark.choice([lark.quoted(text) for text in texts])} {spelled(job, closing)}"]
        wanted = " & ".join(filter(None, [string_terminal(self.schema), excluding]))
        if self.is_string or kind == "string":
            return text_then(job, name, wanted or None, closing)
        types = self.types - {"string"}
        if kind == "other" or "string" not in self.types or _is_bounded(self.schema):
            return [f"{name}: {self._json_rule(types)} {spelled(job, closing)}"]
        scalars = "|".join(_SCALARS[found] for found in sorted(types & set(_SCALARS)))
        text = " & ".join(filter(None, [wanted or "/(?s:.*)/", _LOOKS_LIKE_JSON]))
        text = f"(/{scalars}/ | ({text}))" if scalars else text
        structures = types & {"object", "array"}
        rules = text_then(job, f"{name}_text", text, closing)
        if not structures:
            return [f"{name}: {name}_text", *rules]
        rules.append(f"{name}_json: {self._json_rule(structures)} {spelled(job, closing)}")
        return [f"{name}: {name}_json | {name}_text", *rules]

    def _json_rule(self, types: frozenset[str]) -> str:
        schema = _only(self.schema, self.definitions, types)
        return lark.json_rule({**schema, "$defs": dict(self.definitions)} if self.definitions else schema)

    def _enumeration(self) -> Sequence[Any] | None:
        if "const" in self.schema:
            return [self.schema["const"]]
        values = self.schema.get("enum")
        return values if isinstance(values, list) and values else None


def parameters_of(tool: Tool) -> dict[str, Parameter]:
    """Return the tool's declared parameters by name, in the schema's order."""
    schema = tool.parameters
    required = schema.get("required") or ()
    definitions = schema.get("$defs") or schema.get("definitions") or {}
    properties = schema.get("properties") or {}
    return {
        name: Parameter(name, found if isinstance(found, dict) else {}, name in required, definitions)
        for name, found in properties.items()
    }


def other_parameter(tool: Tool) -> Parameter | None:
    """Return the schema of parameters without a declaration; None: there may be none."""
    found = tool.parameters.get("additionalProperties", True)
    if found is False or (tool.parameters.get("properties") and found is True):
        return None
    return Parameter("", found if isinstance(found, dict) else {})


_NO_VALUE = object()


def _value(text: str) -> object:
    """Return the value of JSON, or of Python's notation, which some templates render; else `_NO_VALUE`."""
    if _is_json(text):
        return json.loads(text)
    try:
        return python_literal(text)
    except ValueError:
        return _NO_VALUE


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _type(value: object) -> frozenset[str]:
    if isinstance(value, bool):
        return frozenset(("boolean",))
    if isinstance(value, int):
        return frozenset(("integer", "number"))
    if isinstance(value, float):
        return frozenset(("number", *(("integer",) if value.is_integer() else ())))
    if isinstance(value, Mapping):
        return frozenset(("object",))
    if isinstance(value, list | tuple):
        return frozenset(("array",))
    return frozenset() if isinstance(value, str) else frozenset(("null",))


def schema_types(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    """Return the JSON types that values of a schema may have."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and depth < _MAX_STEPS:
        found = definitions.get(reference.rsplit("/", 1)[-1])
        return schema_types(found, definitions, depth + 1) if isinstance(found, dict) else _ALL_TYPES
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset((named,))
    if isinstance(named, list):
        return frozenset(named)
    for key in ("anyOf", "oneOf"):
        branches = schema.get(key)
        if isinstance(branches, list) and depth < _MAX_STEPS:
            known = [
                schema_types(found, definitions, depth + 1) for found in branches if isinstance(found, dict)
            ]
            return frozenset().union(*known)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and values:
        return frozenset().union(
            *[frozenset(("string",)) if isinstance(v, str) else _type(v) for v in values]
        )
    if any(key in schema for key in ("properties", "additionalProperties", "patternProperties")):
        return frozenset(("object",))
    return frozenset(("array",)) if "items" in schema else _ALL_TYPES


def _only(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], wanted: frozenset[str], depth: int = 0
) -> dict[str, Any]:
    """Return the schema of those values that have one of the types."""
    if depth >= _MAX_STEPS or schema_types(schema, definitions) <= wanted:
        return dict(schema)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found = definitions.get(reference.rsplit("/", 1)[-1])
        return _only(found, definitions, wanted, depth + 1) if isinstance(found, dict) else {}
    left = dict(schema)
    for key in ("anyOf", "oneOf"):
        if isinstance(left.get(key), list):
            branches = [found for found in left[key] if schema_types(found, definitions) & wanted]
            left[key] = [_only(found, definitions, wanted, depth + 1) for found in branches]
            return left
    types = schema_types(schema, definitions) & wanted
    left["type"] = sorted(types - {"integer"} if "number" in types else types)
    return {
        key: value
        for key, value in left.items()
        if key not in ("pattern", "minLength", "maxLength", "format")
    }


def _is_bounded(schema: Mapping[str, Any]) -> bool:
    """Return True if a number in the schema has bounds, which no terminal beside a string's text can hold."""
    branches = [
        found for key in ("anyOf", "oneOf") for found in schema.get(key) or () if isinstance(found, dict)
    ]
    return bool(_BOUNDS & set(schema)) or any(_is_bounded(found) or "$ref" in found for found in branches)


_BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"))
_SCALARS = {
    "null": "null",
    "boolean": "true|false",
    "integer": "-?(0|[1-9][0-9]{0,17})",
    "number": r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?",
}


def string_terminal(schema: Mapping[str, Any]) -> str | None:
    """Return the terminal of the texts that a string's schema allows; None: any."""
    parts: list[str] = []
    for found in (schema, *(branch for key in ("anyOf", "oneOf") for branch in schema.get(key) or ())):
        if isinstance(found, dict):
            parts += _string_conditions(found)
    return " & ".join(parts) if parts else None


def _string_conditions(schema: Mapping[str, Any]) -> list[str]:
    conditions: list[str] = []
    shortest, longest = schema.get("minLength") or 0, schema.get("maxLength")
    if shortest or longest is not None:
        conditions.append(f"/(?s:.{{{shortest},{'' if longest is None else longest}}})/")
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and pattern and is_held(pattern):
        body = pattern if pattern.startswith("^") else f"(?s:.*)({pattern})"
        body = body.removeprefix("^")
        body = body[:-1] if body.endswith("$") and not body.endswith(r"\$") else f"{body}(?s:.*)"
        conditions.append(f"/({lark.in_slashes(body)})/")
    return conditions


def python_json(text: str) -> str | None:
    """Return the JSON of a value in JSON's or Python's notation, or a mix of them; None: it is neither."""
    value = _value(text)
    if value is _NO_VALUE:
        value = _value(
            _MIXED_WORD.sub(lambda found: _WORDS[found[0]] if found[0] in _WORDS else found[0], text)
        )
    return None if value is _NO_VALUE else json.dumps(value, ensure_ascii=False)


_MIXED_WORD = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\b(?:true|false|null)\b", re.DOTALL)
_WORDS = {"true": "True", "false": "False", "null": "None"}
