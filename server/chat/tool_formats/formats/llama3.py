r"""Llama 3's format: the answer is one JSON object, for built-in tools a Python call behind a mark.

{"name": "get_weather", "parameters": {"city": "Paris"}}

<|python_tag|>brave_search.call(query="weather in Paris")

Some write the mark in front of the object, too, or `"type": "function"` within it, or several objects with
semicolons between them: all of that is read. Only one call is generated, as the template can't render more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar import lark_parameters
from server.chat.tool_formats.grammar.answer_rules import thoughts_first
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.reading.python_call import read_python_call
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_MARK = "<|python_tag|>"
_PROMPT = re.compile(r'"name":\s*function name, "parameters"')
_BEFORE = ("", lark.quoted('"type": "function", '))


class _Llama3:
    marks = (_MARK,)

    def matches(self, template: str) -> bool:
        return _PROMPT.search(template) is not None

    def grammar(self, job: GrammarJob) -> str:
        thoughts, rules = thoughts_first(job)
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
        reader = AnswerScript(lambda text: _read(text, {tool.name: tool for tool in tools}))
        return with_thoughts(reader, thoughts, thinks=thinks)


def _read(text: AnswerText, tools: Mapping[str, Tool]) -> Steps[None]:
    """Read an answer: objects at its beginning or behind the mark, where a Python call may stand, too."""
    built_in = {f"{name}.call": tool for name, tool in tools.items()}
    yield from text.bare_calls(tools)
    while (yield from text.until([_MARK])) is not None:
        raw = _MARK + (yield from text.skip())
        if text.buffer.text.startswith("{"):
            yield from text.listed_calls(tools, raw, "")
        else:
            yield from read_python_call(text, built_in, raw)


FORMAT = _Llama3()
