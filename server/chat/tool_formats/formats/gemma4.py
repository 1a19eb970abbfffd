r"""Gemma 4's format: calls with strings between special marks and keys without quotes.

<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3,near:[<|"|>Rome<|"|>,{x:1.5}]}<tool_call|>
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, spelled
from server.chat.tool_formats.grammar.loose_keywords import note_loose
from server.chat.tool_formats.grammar.marked_strings import MarkedStrings
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _CLOSING, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'


class _Gemma4:
    marks = (_OPENING, _CLOSING, _QUOTE)

    def matches(self, template: str) -> bool:
        return "<|tool_call>call:" in template

    def grammar(self, job: GrammarJob) -> str:
        writer = MarkedStrings(job, _QUOTE)
        for tool in job.tools:
            note_loose(job, tool)
        names = [writer.object_of(tool.parameters, tool.parameters) for tool in job.tools]
        calls = [
            f"{lark.quoted('call:' + tool.name)} {rule}" for tool, rule in zip(job.tools, names, strict=True)
        ]
        rules = [f"named: {' | '.join(calls)}"] if calls else []
        behind = f"named {spelled(job, _CLOSING)}"
        call = f"{spelled(job, _OPENING)} {behind}"
        if job.parallel:
            behind, call = f"{behind} ({call})*", f"{call} ({call})*"
        return answer(job, call, [_OPENING], [*rules, *writer.rules], after_opening=behind)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        names = frozenset(tool.name for tool in tools)
        reader = AnswerScript(lambda text: _read(text, names))
        return with_thoughts(reader, thoughts, thinks=thinks)


def _read(text: AnswerText, names: frozenset[str]) -> Steps[None]:
    yield from text.bare_calls(names)
    openings = [_OPENING, *(f"call:{name}{{" for name in names)]
    while (mark := (yield from text.until(openings))) is not None:
        if mark != _OPENING:
            text.buffer.text = mark + text.buffer.text
        header, end = yield from text.word(["{"])
        name = header.strip().removeprefix("call:").strip()
        if end is None or name not in names:
            text.add_content((_OPENING if mark == _OPENING else "") + header + (end or ""))
            continue
        text.begin_call(name)
        if (yield from _object(text)):
            text.end_call()
            yield from text.mark([_CLOSING])


def _object(text: AnswerText) -> Steps[bool]:
    """Hand out an object as JSON, whose bracket was taken; return True if it is whole."""
    text.add_arguments("{")
    n_read = 0
    while True:
        yield from text.skip(" \t\r\n,")
        if (yield from text.mark(["}"], skip="")):
            text.add_arguments("}")
            return True
        quoted = yield from text.mark([_QUOTE])
        key, end = yield from text.word([_QUOTE if quoted else ":"])
        if end is None:
            return False
        if quoted:
            yield from text.mark([":"])
        text.add_arguments(
            (", " if n_read else "") + json.dumps(key.strip().strip('"'), ensure_ascii=False) + ": "
        )
        n_read += 1
        if not (yield from _any_value(text)):
            return False


def _any_value(text: AnswerText) -> Steps[bool]:
    yield from text.skip()
    mark = yield from text.mark([_QUOTE, "{", "["], skip="")
    if mark == "{":
        return (yield from _object(text))
    if mark == _QUOTE:
        text.add_arguments('"')
        if (yield from text.until([_QUOTE], lambda piece: text.add_arguments(_inner(piece)))) is None:
            return False
        text.add_arguments('"')
        return True
    if mark == "[":
        return (yield from _list(text))
    if text.buffer.text.startswith('"'):
        return (yield from text.json(text.add_arguments))
    word, end = yield from text.word([",", "}", "]"])
    if end is None:
        return False
    text.buffer.text = end + text.buffer.text
    text.add_arguments(_scalar(word.strip()))
    return True


def _list(text: AnswerText) -> Steps[bool]:
    text.add_arguments("[")
    n_read = 0
    while True:
        yield from text.skip(" \t\r\n,")
        if (yield from text.mark(["]"], skip="")):
            text.add_arguments("]")
            return True
        if not text.buffer.text:
            return False
        text.add_arguments(", " if n_read else "")
        n_read += 1
        if not (yield from _any_value(text)):
            return False


def _scalar(word: str) -> str:
    """Return a number or a word as JSON; None is what templates make of null."""
    word = {"None": "null", "True": "true", "False": "false"}.get(word, word)
    try:
        json.loads(word)
    except ValueError:
        return json.dumps(word, ensure_ascii=False)
    return word


def _inner(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


FORMAT = _Gemma4()
