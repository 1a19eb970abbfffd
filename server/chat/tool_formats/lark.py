"""Pieces of llguidance's Lark grammars that the tool formats share. Pure.

`%json` rules keep to llguidance's own flexible white space, so that a model may write JSON as it has learned
to. A grammar is rules, one per line; a rule's name has only lower-case letters, a terminal's only upper-case
ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from server.chat.tool_formats.tool_format import GrammarJob
from server.chat.tools import Tool

TEXT = r"TEXT: /(.|\n)*/"
"""The terminal of free text. It holds no special token, so one that follows it ends it."""


def quoted(text: str) -> str:
    """Return the Lark literal of a text, which special tokens can't spell."""
    return json.dumps(text, ensure_ascii=False)


def json_rule(schema: Mapping[str, Any]) -> str:
    """Return the Lark expression of any JSON text that `schema` allows."""
    return f"%json {json.dumps(schema, ensure_ascii=False)}"


def call_schema(tool: Tool, *, name_key: str = "name", arguments_key: str = "arguments") -> dict[str, Any]:
    """Return the schema of a call as an object with the tool's name and its arguments."""
    return {
        "type": "object",
        "properties": {name_key: {"const": tool.name}, arguments_key: arguments_schema(tool)},
        "required": [name_key, arguments_key],
        "additionalProperties": False,
    }


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """Return the schema of a tool's arguments, which are always an object."""
    return {"type": "object", **tool.parameters}


def text_before(name: str, mark: str, job: GrammarJob) -> list[str]:
    """Return the rules of `name`: any text up to the first such mark, and the mark."""
    if job.is_token(mark):
        return [f"{name}: TEXT {job.mark(mark)}"]
    return [f"{name}[lazy]: TEXT {quoted(mark)}"]


def thoughts_first(job: GrammarJob, *, after: str = r"/\s*/") -> tuple[str, list[str]]:
    """Return the expression that an answer begins with for its thoughts, empty without any, and its rules.

    `after` is what stands between the thoughts and the rest.
    """
    if job.thoughts is None:
        return "", []
    opening, closing = job.thoughts
    rules = text_before("thoughts_end", closing, job)
    if job.thinks:
        return f"thoughts_end {after}", rules
    rules.append(rf"thoughts: /\s*/ {job.mark(opening)} thoughts_end {after}")
    return "thoughts?", rules


def choice(alternatives: Sequence[str]) -> str:
    """Return the expression of one of the alternatives."""
    return f"({' | '.join(alternatives)})"
