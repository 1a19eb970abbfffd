"""`ListedCalls`: the kind of formats that write calls as one JSON list behind a mark. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from server.chat.tool_formats import lark
from server.chat.tool_formats.reading.json_call import JsonCall
from server.chat.tool_formats.reading.marked_calls import MarkedCalls
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool


@dataclass(frozen=True, kw_only=True)
class ListedCalls:
    """A `ToolFormat` of `OPENING[{"name": …, "arguments": …}, …]CLOSING`, which texts of a template tell."""

    opening: str
    closing: str = ""
    """The mark behind the list; empty: there is none."""
    other_openings: tuple[str, ...] = ()
    """Other marks that models of this kind write, which are read, too."""
    words: tuple[str, ...]
    """The texts that are all in a template of this format."""
    other_words: tuple[str, ...] = ()
    """The texts of which none is in a template of this format."""
    behind: str = ""
    """The expression of members that follow a call's arguments."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The marks around the list."""
        return (self.opening, *self.other_openings, *((self.closing,) if self.closing else ()))

    def matches(self, template: str) -> bool:
        """Return True if the template has the format's texts, and none of another one's."""
        return all(word in template for word in self.words) and not any(
            word in template for word in self.other_words
        )

    def grammar(self, job: GrammarJob) -> str:
        """Return the grammar of an answer with one list of calls."""
        one = lark.choice([lark.json_call(tool, behind=self.behind) for tool in job.tools])
        closing = f" {job.mark(self.closing)}" if self.closing else ""
        return lark.answer(
            job,
            opening=self.opening,
            first='"[" one',
            more='", " one',
            end=f'"]"{closing}',
            rules=[f"one: {one}"],
        )

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        """Return a reader of the list's objects, also of a list without marks at the answer's beginning."""
        names = frozenset(tool.name for tool in tools)
        openings = (self.opening, *self.other_openings)
        calls = MarkedCalls(lambda: JsonCall(names), openings, self.closing or None)
        return with_thoughts(calls, thoughts, thinks=thinks)

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """Return the calls as the grammar has them."""
        listed = [
            f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments}}}'
            for name, arguments in calls
        ]
        return f"{self.opening}[{', '.join(listed)}]{self.closing}"
