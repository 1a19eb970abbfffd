"""Pieces of llguidance's Lark grammars that the tool formats share. Pure.

JSON is written as chat templates write it (`", "` and `": "`, nothing else), and white space between marks
is bounded: so a call that is rendered in the next turn gives the tokens that were generated, most of its
punctuation is forced, and no model loops in white space. A grammar is rules, one per line; a rule's name has
only lower-case letters, a terminal's only upper-case ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from server.chat.declared_names import has_references_beside
from server.chat.tools import Tool

TEXT = r"TEXT: /(.|\n)*/"
"""The terminal of free text. It holds no special token, so one that follows it ends it."""
_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_DEFINITIONS = ("$defs", "definitions")


def quoted(text: str) -> str:
    """Return the Lark literal of a text, which special tokens can't spell."""
    return json.dumps(text, ensure_ascii=False)


def json_rule(schema: Mapping[str, Any]) -> str:
    """Return the Lark expression of any JSON text that `schema` allows, as chat templates write it."""
    return f"%json {json.dumps({**schema, 'x-guidance': _STYLE}, ensure_ascii=False)}"


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """Return the schema of a tool's arguments: an object with no others than the properties that it declares.

    A schema that allows others says so (`additionalProperties`), declares none, or refers to definitions that
    may declare more.
    """
    schema = {"type": "object", **tool.parameters}
    says_others = {"additionalProperties", "patternProperties", "unevaluatedProperties"} & set(schema)
    if schema.get("properties") and not says_others and not has_references_beside(schema):
        schema["additionalProperties"] = False
    return _placed(schema, tool)


def part_schema(part: Mapping[str, Any], tool: Tool) -> dict[str, Any]:
    """Return a part of a tool's schema with the definitions that it may refer to."""
    shared = {key: tool.parameters[key] for key in _DEFINITIONS if key in tool.parameters}
    return _placed({**shared, **part}, tool)


def _placed(schema: dict[str, Any], tool: Tool) -> dict[str, Any]:
    """Return a schema that says where the client sent it, which the constraints' compiler reads."""
    return {**schema, "$id": f"corral:{tool.path}"} if tool.path and "$id" not in schema else schema


def json_call(
    tool: Tool,
    *,
    name_key: str = "name",
    arguments_key: str = "arguments",
    before: str = "",
    behind: str = "",
) -> str:
    """Return the expression of a call as an object: the tool's name, then its arguments.

    `before` and `behind` are the expressions of members in front of the two and behind them.
    """
    name = json.dumps(tool.name, ensure_ascii=False)
    members = f'"{name_key}": {name}, "{arguments_key}": '
    head = f'"{{" {before} {quoted(members)}' if before else quoted("{" + members)
    return f'{head} {json_rule(arguments_schema(tool))} {behind} "}}"'


def letters(number: int) -> str:
    """Return a number in letters, as names of rules have no digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def choice(alternatives: Sequence[str]) -> str:
    """Return the expression of one of the alternatives."""
    return f"({' | '.join(alternatives)})"


def in_slashes(expression: str) -> str:
    """Return a regular expression as it stands between slashes, whether its own are escaped or not."""
    return re.sub(r"\\.|/", lambda found: found[0].rjust(2, "\\"), expression, flags=re.DOTALL)


def escaped(text: str) -> str:
    """Return the regular expression of a text, as it stands between slashes."""
    return "".join(char if char.isalnum() or char in "_<>= \"':,;" else rf"\{char}" for char in text)
