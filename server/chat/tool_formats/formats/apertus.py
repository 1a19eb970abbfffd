r"""Apertus's format: a list of objects between two marks, each with a tool's name as its only key.

<|tools_prefix|>[{"get_weather": {"city": "Paris"}}, {"get_weather": {"city": "Rome"}}]<|tools_suffix|>
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, spelled
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _CLOSING = "<|tools_prefix|>", "<|tools_suffix|>"


class _Apertus:
    marks = (_OPENING, _CLOSING)

    def matches(self, template: str) -> bool:
        return _OPENING in template

    def grammar(self, job: GrammarJob) -> str:
        rules = []
        if job.tools:
            rules.append(f"object: {' | '.join(_object(tool) for tool in job.tools)}")
        more = '(", " object)*' if job.parallel else ""
        behind = f'"[" object {more} "]" {spelled(job, _CLOSING)}'
        return answer(job, f"{spelled(job, _OPENING)} {behind}", [_OPENING], rules, after_opening=behind)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        names = frozenset(tool.name for tool in tools)
        reader = AnswerScript(lambda text: _read(text, names))
        return with_thoughts(reader, thoughts, thinks=thinks)


def _object(tool: Tool) -> str:
    """Return the expression of a call, whose arguments' schema stays a root for its references."""
    key = lark.quoted(json.dumps(tool.name, ensure_ascii=False) + ": ")
    return f'"{{" {key} {lark.json_rule(lark.arguments_schema(tool))} "}}"'


def _read(text: AnswerText, names: frozenset[str]) -> Steps[None]:
    yield from text.bare_calls(names)
    while (yield from text.until([_OPENING])) is not None:
        raw = _OPENING
        while True:
            raw += yield from text.skip(" \t\r\n[],")
            if (yield from text.mark([_CLOSING], skip="")):
                break
            if not text.buffer.text.startswith("{"):
                if raw.strip(" \t\r\n[],"):
                    text.add_content(raw)
                break
            if not (yield from _read_call(text, names, raw)):
                break
            raw = ""


def _read_call(text: AnswerText, names: frozenset[str], raw: str) -> Steps[bool]:
    """Read an object; return False, with all of it handed out, if it is no call."""
    header, end = yield from text.word([":"])
    name = header.strip('{ \t\r\n"')
    if end is None or name not in names:
        text.add_content(raw + header + (end or ""))
        return False
    text.begin_call(name)
    if (yield from text.json_arguments()) and (yield from text.mark(["}"])):
        text.end_call()
    return True


FORMAT = _Apertus()
