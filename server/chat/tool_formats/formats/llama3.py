r"""Llama 3's format: the answer is one JSON object, for built-in tools a Python call behind a mark.

{"name": "get_weather", "parameters": {"city": "Paris"}}

<|python_tag|>brave_search.call(query="weather in Paris")

Some write the mark in front of the object, too, or `"type": "function"` within it, or several objects with
semicolons between them: all of that is read. Only one call is generated, as the template can't render more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar import lark_parameters
from server.chat.tool_formats.reading.json_call import JsonCall
from server.chat.tool_formats.reading.marked_calls import CallReader, MarkedCalls
from server.chat.tool_formats.reading.python_call import PythonCall
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, Part, PartReader
from server.chat.tools import Tool

_MARK = "<|python_tag|>"
_PROMPT = re.compile(r'"name":\s*function name, "parameters"')
_BEFORE = ("", lark.quoted('"type": "function", '))


class _Llama3:
    marks = (_MARK,)

    def matches(self, template: str) -> bool:
        return _PROMPT.search(template) is not None

    def grammar(self, job: GrammarJob) -> str:
        thoughts, rules = lark.thoughts_first(job)
        calls = [
            lark.json_call(tool, arguments_key="parameters", before=before)
            for tool in job.tools
            for before in _BEFORE
        ]
        rules += [lark.TEXT, f"call: {lark.choice(calls)}" if calls else "call: TEXT"]
        names = "|".join(lark.escaped(tool.name) for tool in job.tools)
        known = rf"\s*\{{\s*(\"type\":\s*\"function\",\s*)?\"name\":\s*\"({names})\"(.|\n)*"
        if not job.tools:
            found = f"({job.content})" if job.content else "TEXT"
        elif job.required:
            found = "call"
        elif job.content:
            found = f"(({job.content}) | call)"
        else:
            rules.append(rf"PLAIN: /(.|\n)*/ & ~/{known}/")
            found = "(PLAIN | call)"
            if job.is_token(_MARK):
                marked = [
                    f'{lark.quoted(f"{tool.name}.call(")} {lark_parameters.keywords(tool)} ")"'
                    for tool in job.tools
                ]
                rules += [f"marked: call | {' | '.join(marked)}"]
                found = f"(PLAIN | call | PLAIN {job.mark(_MARK)} marked)"
        return "\n".join(["%llguidance {}", f"start: {thoughts} {found}", *rules])

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        separators = " \t\r\n;,"
        calls = MarkedCalls(lambda: _Call(tools), _MARK, None, call_begins="", separators=separators)
        return with_thoughts(calls, thoughts, thinks=thinks)


class _Call:
    """A `CallReader` of an object or of a Python call, which the first character tells."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        self._call: CallReader | None = None

    @property
    def is_done(self) -> bool:
        return self._call is not None and self._call.is_done

    def feed(self, text: str) -> tuple[list[Part], str]:
        if self._call is None:
            if text.lstrip().startswith("{"):
                self._call = JsonCall(frozenset(tool.name for tool in self._tools))
            else:
                self._call = PythonCall(self._tools, suffix=".call")
        return self._call.feed(text)

    def end(self) -> list[Part]:
        return self._call.end() if self._call is not None else []


FORMAT = _Llama3()
