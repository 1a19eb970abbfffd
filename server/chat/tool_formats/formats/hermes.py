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
from server.chat.tool_formats.reading.json_call import JsonCall
from server.chat.tool_formats.reading.marked_calls import MarkedCalls
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_OTHER_WORDS = ("<function=", "<arg_key>", "<tool_calls>", "]<]", "<minimax:")
"""The texts by which a template tells that something else stands between the same marks."""


class Hermes:
    """The format; `generic` writes it, too."""

    marks = (_OPENING, _CLOSING)

    def matches(self, template: str) -> bool:
        """Return True if the marks stand around objects with a name."""
        named = '"name"' in template or '\\"name\\"' in template
        return _OPENING in template and named and not any(word in template for word in _OTHER_WORDS)

    def grammar(self, job: GrammarJob) -> str:
        """Return the grammar of an answer with calls on lines of their own."""
        one = lark.choice([lark.json_call(tool) for tool in job.tools])
        first = rf'"\n" {one} "\n" {job.mark(_CLOSING)}'
        more = rf"/\n{{0,2}}/ {job.mark(_OPENING)} first"
        return lark.answer(job, opening=_OPENING, first=first, more=more)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        """Return a reader of objects, between the marks or without them at the answer's beginning."""
        names = frozenset(tool.name for tool in tools)
        calls = MarkedCalls(lambda: JsonCall(names), _OPENING, _CLOSING)
        return with_thoughts(calls, thoughts, thinks=thinks)


FORMAT = Hermes()
