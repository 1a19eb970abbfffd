r"""Hermes' format, also Qwen's 2.5 and 3: each call is a JSON object between two marks.

I look at both.
<tool_call>
{"name": "get_weather", "arguments": {"city": "Paris"}}
</tool_call>
<tool_call>
{"name": "get_weather", "arguments": {"city": "Rome"}}
</tool_call>
"""

from __future__ import annotations

from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.json_call import JsonCall
from server.chat.tool_formats.marked_calls import MarkedCalls
from server.chat.tool_formats.thoughts_first import ThoughtsFirst
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _CLOSING = "<tool_call>", "</tool_call>"


class _Hermes:
    marks = (_OPENING, _CLOSING)

    def matches(self, template: str) -> bool:
        return _OPENING in template and '"name"' in template and "<function=" not in template

    def grammar(self, job: GrammarJob) -> str:
        thoughts, rules = lark.thoughts_first(job)
        names = [lark.json_rule(lark.call_schema(tool)) for tool in job.tools]
        body = rf"/\s*/ {lark.choice(names)} /\s*/ {job.mark(_CLOSING)}"
        rules += [rf"call: {job.mark(_OPENING)} {body}", r"more: /\s*/ call"]
        rules += [*lark.text_before("call_opening", _OPENING, job), f"call_in_text: call_opening {body}"]
        more = "more*" if job.parallel else ""
        content = job.content or "TEXT"
        if job.required:
            answer = rf"call {more}"
        elif job.content:
            answer = f"({content} | call {more})"
        else:
            answer = f"(TEXT | call_in_text {more})"
        return "\n".join(["%llguidance {}", f"start: {thoughts} {answer}", *rules, lark.TEXT])

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        names = frozenset(tool.name for tool in tools)
        calls = MarkedCalls(lambda: JsonCall(names), _OPENING, _CLOSING)
        return calls if thoughts is None else ThoughtsFirst(calls, thoughts, thinks=thinks)


FORMAT = _Hermes()
