r"""Functionary's format of v3.2: each part has a recipient (`all`: content); the prompt ends in `>>>`.

all
I look at both.>>>get_weather
{"city": "Paris"}>>>get_weather
{"city": "Rome"}
"""

from __future__ import annotations

from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import thoughts_first
from server.chat.tool_formats.reading.marked_calls import MarkedCalls
from server.chat.tool_formats.reading.named_call import NamedCall
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, Part, PartReader
from server.chat.tools import Tool

_MARK, _CONTENT = ">>>", "all\n"


class _Functionary:
    marks = (_MARK,)

    def matches(self, template: str) -> bool:
        return f"{_MARK}${{recipient}}" in template or f"'{_MARK}all" in template

    def grammar(self, job: GrammarJob) -> str:
        thoughts, rules = thoughts_first(job)
        calls = [
            lark.quoted(f"{tool.name}\n") + " " + lark.json_rule(lark.arguments_schema(tool))
            for tool in job.tools
        ]
        # Head and text are one terminal: the lexer would take the longer of `content` for the head alone.
        rules += [lark.TEXT, r"PLAIN: /all\n(.|\n)*/ & ~/(.|\n)*>>>(.|\n)*/"]
        more = f'("{_MARK}" call)*' if job.parallel else ""
        head = lark.quoted(_CONTENT)
        if calls:
            rules.append(f"call: {lark.choice(calls)}")
        if job.required:
            found = f"call {more}"
        elif job.content:
            found = f"({head} ({job.content})" + (f" | call {more})" if calls else ")")
        else:
            found = "PLAIN"
            if calls:
                rules.append(f'content[lazy]: {head} TEXT "{_MARK}"')
                found = f"({found} | content call {more} | call {more})"
        return "\n".join(["%llguidance {}", f"start: {thoughts} {found}", *rules])

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        return with_thoughts(_Recipients(tools), thoughts, thinks=thinks)


class _Recipients:
    """A `PartReader`: content's head at the answer's beginning is left out, a name there is a call's."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._names = frozenset(tool.name for tool in tools)
        self._heads = [_MARK, _CONTENT, *(f"{name}\n" for name in self._names)]
        self._start: str | None = ""
        self._rest = MarkedCalls(
            lambda: NamedCall(self._names, separator="\n"),
            _MARK,
            None,
            call_begins="",
            unwrapped="",
            separators="",
            mark_per_call=True,
        )

    def feed(self, text: str) -> list[Part]:
        if self._start is None:
            return self._rest.feed(text)
        self._start += text
        if any(head.startswith(self._start) for head in self._heads):
            return []
        return self._begin()

    def end(self) -> list[Part]:
        return [*([] if self._start is None else self._begin()), *self._rest.end()]

    def _begin(self) -> list[Part]:
        text, self._start = self._start or "", None
        if text.startswith(_CONTENT):
            return self._rest.feed(text.removeprefix(_CONTENT))
        name = text.partition("\n")[0]
        return self._rest.feed(_MARK + text if name in self._names else text)


FORMAT = _Functionary()
