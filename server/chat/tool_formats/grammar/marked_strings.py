"""`MarkedStrings`: rules of values whose strings stand between marks and whose keys are bare. Pure."""

from __future__ import annotations

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import spelled, text_then
from server.chat.tool_formats.grammar.written_values import WrittenValues
from server.chat.tool_formats.tool_format import GrammarJob


class MarkedStrings(WrittenValues):
    """Writes the rules of the arguments of one answer's tools; members come as `dictsort` has them."""

    comma = ","
    any_key = r'/[a-zA-Z_][a-zA-Z0-9_]{0,63}/ ":"'
    sort_key = staticmethod(str.lower)

    def __init__(self, job: GrammarJob, quote: str) -> None:
        super().__init__("value")
        self._job = job
        self._quote = quote

    def key(self, name: str) -> str:
        return lark.quoted(f"{name}:")

    def text(self, rule: str, wanted: str | None) -> str:
        self.rules += text_then(self._job, f"{rule}_text", wanted, self._quote)
        return f"{spelled(self._job, self._quote)} {rule}_text"

    def literal_text(self, text: str) -> str:
        quote = spelled(self._job, self._quote)
        return f"{quote} {lark.quoted(text)} {quote}" if text else f"{quote} {quote}"
