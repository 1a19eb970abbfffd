r"""Qwen3-Coder's XML, also Qwen3.5's, Nemotron 3's, Step 3.5's: arguments are elements of plain text.

I look.
<tool_call>
<function=get_weather>
<parameter=city>
Paris
</parameter>
<parameter=days>
3
</parameter>
</function>
</tool_call>
"""

from __future__ import annotations

from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar import lark_parameters
from server.chat.tool_formats.grammar.answer_rules import answer, repeated, spelled
from server.chat.tool_formats.grammar.loose_keywords import note_loose
from server.chat.tool_formats.reading.marked_calls import MarkedCalls
from server.chat.tool_formats.reading.xml_parameters import XmlCall, XmlMarks
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_MARKS = XmlMarks()


class _Qwen3Coder:
    marks = (_OPENING, _CLOSING)

    def matches(self, template: str) -> bool:
        return all(mark in template for mark in (_OPENING, _MARKS.call, _MARKS.parameter))

    def grammar(self, job: GrammarJob) -> str:
        rules: list[str] = []
        calls: list[str] = []
        for place, tool in enumerate(job.tools):
            note_loose(job, tool)
            arguments, more = lark_parameters.elements(
                tool,
                f"value_{lark.letters(place)}",
                lambda name, value: f"{lark.quoted(_head(_MARKS.parameter, name))} {value}",
                "\n</parameter>\n",
            )
            rules += more
            calls.append(f"{lark.quoted(_head('', tool.name))} {arguments}")
        first = rf'"\n<function=" {lark.choice(calls)} "</function>\n" {job.mark(_CLOSING)}'
        opening = spelled(job, _OPENING)
        behind = repeated("first", rf"/\n{{0,2}}/ {opening} first", job)
        rules += [f"first: {first}"] if calls else []
        return answer(job, f"{opening} {behind}", [_OPENING], rules, after_opening=behind)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        calls = MarkedCalls(
            lambda: XmlCall(tools, _MARKS),
            _OPENING,
            _CLOSING,
            call_begins=_MARKS.call,
            unwrapped="",
            bare=(_MARKS.call,),
            separators=" \t\r\n",
        )
        return with_thoughts(calls, thoughts, thinks=thinks)


def _head(mark: str, name: str) -> str:
    return f"{mark}{name}>\n"


FORMAT = _Qwen3Coder()
