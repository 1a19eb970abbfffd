r"""Functionary's format of v3.1: the name in a tag, the arguments as JSON.

I look.<function=get_weather>{"city": "Paris"}</function><function=get_weather>{"city": "Rome"}</function>
"""

from __future__ import annotations

from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, repeated, spelled
from server.chat.tool_formats.reading.marked_calls import MarkedCalls
from server.chat.tool_formats.reading.named_call import NamedCall
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _CLOSING = "<function=", "</function>"
_OTHER_WORDS = ("<tool_call>", "<parameter=", "tool_call>")


class _Functionary:
    marks = (_OPENING, _CLOSING)

    def matches(self, template: str) -> bool:
        others = any(word in template for word in _OTHER_WORDS)
        return _OPENING in template and _CLOSING in template and not others

    def grammar(self, job: GrammarJob) -> str:
        calls = [
            f"{lark.quoted(tool.name + '>')} {lark.json_rule(lark.arguments_schema(tool))}"
            for tool in job.tools
        ]
        opening = spelled(job, _OPENING)
        behind = repeated("named", rf"/\n?/ {opening} named", job)
        rules = [f"named: {lark.choice(calls)} {spelled(job, _CLOSING)}"] if calls else []
        return answer(job, f"{opening} {behind}", [_OPENING], rules, after_opening=behind)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        names = frozenset(tool.name for tool in tools)
        calls = MarkedCalls(
            lambda: NamedCall(names, opening=_OPENING, separator=">", closing=_CLOSING),
            (),
            None,
            unwrapped="",
            bare=(_OPENING,),
            separators=" \t\r\n;,",
        )
        return with_thoughts(calls, thoughts, thinks=thinks)


FORMAT = _Functionary()
