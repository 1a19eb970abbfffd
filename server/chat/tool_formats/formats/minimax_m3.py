r"""MiniMax M3's format: nested elements, each mark of which stands behind the model's own token.

]<]minimax[>[<tool_call>
]<]minimax[>[<invoke name="get_weather">]<]minimax[>[<city>Paris]<]minimax[>[</city>
]<]minimax[>[<days>]<]minimax[>[<item>3]<]minimax[>[</item>]<]minimax[>[</days>]<]minimax[>[</invoke>
]<]minimax[>[</tool_call>

There is a line break only around invocations; others stand here for the page. Lists are items, objects are
elements of their members; null has no form, and is left out. Keys that no mark could spell aren't written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, spelled
from server.chat.tool_formats.grammar.loose_keywords import note_loose
from server.chat.tool_formats.grammar.nested_elements import NestedElements
from server.chat.tool_formats.grammar.parameter_schema import Parameter, schema_types
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_MARK = "]<]minimax[>["
_SECTION = (f"{_MARK}<tool_call>", f"{_MARK}</tool_call>")
_CALL, _CALL_END = f'{_MARK}<invoke name="', f"{_MARK}</invoke>"
_NAME = re.compile(r"[^<>/\s]+")


class _MinimaxM3:
    marks = (_MARK,)

    def matches(self, template: str) -> bool:
        return _MARK in template and "invoke name=" in template

    def grammar(self, job: GrammarJob) -> str:
        elements = NestedElements(job, _MARK)
        calls = []
        for tool in job.tools:
            note_loose(job, tool)
            members = elements.members_of(tool)
            calls.append(f'{lark.quoted(f"{tool.name}")} "\\">" {members} {spelled(job, _CALL_END)}')
        rules = [f"named: {' | '.join(calls)}", *elements.rules] if calls else []
        call = f"{spelled(job, _CALL)} named"
        more = rf"(/\n?/ {call})*" if job.parallel else ""
        behind = rf"/\n?/ {call} {more} /\n?/ {spelled(job, _SECTION[1])}"
        return answer(
            job, f"{spelled(job, _SECTION[0])} {behind}", [_SECTION[0]], rules, after_opening=behind
        )

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        known = {tool.name: tool for tool in tools}
        reader = AnswerScript(lambda text: _read(text, known))
        return with_thoughts(reader, thoughts, thinks=thinks)


def _read(text: AnswerText, tools: dict[str, Tool]) -> Steps[None]:
    yield from text.bare_calls(tools)
    while (mark := (yield from text.until([_SECTION[0], _CALL]))) is not None:
        raw = mark
        if mark != _CALL:
            raw += yield from text.skip()
            if (yield from text.mark([_CALL], skip="")) is None:
                text.add_content(raw)
                continue
            raw += _CALL
        while (yield from _read_call(text, tools, raw)):
            if (yield from text.mark([_CALL, _SECTION[1]])) != _CALL:
                break
            raw = _CALL


def _read_call(text: AnswerText, tools: dict[str, Tool], raw: str) -> Steps[bool]:
    name, end = yield from text.word(['">'])
    if end is None or name not in tools:
        text.add_content(raw + name + (end or ""))
        return False
    text.begin_call(name)
    schema = {"type": "object", **tools[name].parameters}
    if (yield from _read_members(text, schema, schema, _CALL_END)):
        text.end_call()
    return True


def _read_members(
    text: AnswerText, schema: Mapping[str, Any], root: Mapping[str, Any], closing: str
) -> Steps[bool]:
    """Hand out the members up to `closing` as an object; return True if it is whole."""
    text.add_arguments("{")
    n_read = 0
    while True:
        if (yield from text.mark([closing])):
            text.add_arguments("}")
            return True
        if (yield from text.mark([f"{_MARK}<"])) is None:
            return False
        key, end = yield from text.word([">"])
        if end is None:
            return False
        text.add_arguments((", " if n_read else "") + json.dumps(key, ensure_ascii=False) + ": ")
        n_read += 1
        member = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
        if not (yield from _read_value(text, member, root, f"{_MARK}</{key}>")):
            return False


def _read_value(text: AnswerText, schema: object, root: Mapping[str, Any], closing: str) -> Steps[bool]:
    """Hand out what stands up to `closing` as JSON; return True if it is whole."""
    found = _resolved(schema, root)
    definitions = root.get("$defs") or root.get("definitions") or {}
    types = schema_types(found, definitions)
    if types == {"string"}:
        text.add_arguments('"')
        if (yield from text.until([closing], lambda piece: text.add_arguments(_inner(piece)))) is None:
            return False
        text.add_arguments('"')
        return True
    mark = yield from text.mark([f"{_MARK}<item>", f"{_MARK}<", closing], take=False)
    if mark == closing:
        text.buffer.text = text.buffer.text.lstrip().removeprefix(closing)
        text.add_arguments("[]" if "array" in types else "{}" if "object" in types else '""')
        return True
    if mark is None:
        word, end = yield from text.word([closing])
        text.add_arguments(
            word if end is None else Parameter("", found, definitions=definitions).json_of(word)
        )
        return end is not None
    if mark == f"{_MARK}<item>" and "array" in types:
        return (yield from _read_items(text, found.get("items"), root, closing))
    return (yield from _read_members(text, found, root, closing))


def _read_items(text: AnswerText, schema: object, root: Mapping[str, Any], closing: str) -> Steps[bool]:
    text.add_arguments("[")
    n_read = 0
    while True:
        if (yield from text.mark([closing])):
            text.add_arguments("]")
            return True
        if (yield from text.mark([f"{_MARK}<item>"])) is None:
            return False
        text.add_arguments(", " if n_read else "")
        n_read += 1
        if not (yield from _read_value(text, schema, root, f"{_MARK}</item>")):
            return False


def _resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(schema, dict):
        return {}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found = (root.get("$defs") or root.get("definitions") or {}).get(reference.rsplit("/", 1)[-1])
        return found if isinstance(found, dict) else {}
    return schema


def _inner(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


FORMAT = _MinimaxM3()
