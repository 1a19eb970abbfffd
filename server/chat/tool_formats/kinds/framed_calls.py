"""`FramedCalls`: formats that write a call's name and its JSON between marks of their own. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, spelled
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_NONE: Mapping[str, Callable[[], Steps[None]]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class FramedCalls:
    """A `ToolFormat` made of its marks."""

    tokens: tuple[str, ...]
    """Marks that vocabularies may have as tokens."""
    is_used_by: Callable[[str], bool]
    """Returns True if a template writes calls so."""
    section: tuple[str, str]
    """The marks around all calls."""
    other_openings: tuple[str, ...] = ()
    """The marks that models write in the section's place."""
    opening: str
    """The mark in front of a call."""
    before_name: str = ""
    before_name_expression: str = ""
    """The regular expression of what stands between opening and name, where it isn't one text."""
    after_name: str
    """The text between a call's name and its arguments."""
    after_name_expression: str = ""
    """The regular expression in front of `after_name`, such as a call's number."""
    name_in_header: re.Pattern[str]
    """Finds `name`, and perhaps `id`, between the opening and the end of `after_name`."""
    header_end: str
    """The end of `after_name`, as it is looked for."""
    closing: str
    """The text behind the arguments."""
    loose_closings: tuple[str, ...] = ()
    """The marks that models write in the closing's place."""
    between: str = ""
    """The expression of what may stand between two calls."""

    @property
    def marks(self) -> tuple[str, ...]:
        return self.tokens

    def matches(self, template: str) -> bool:
        return self.is_used_by(template)

    def grammar(self, job: GrammarJob) -> str:
        rules, behind = self.call_rules(job)
        calls = f"{spelled(job, self.section[0])} {behind}"
        return answer(job, calls, [self.section[0]], rules, after_opening=behind)

    def call_rules(self, job: GrammarJob) -> tuple[list[str], str]:
        """Return the rules of calls, and the expression of all that follows the mark in front of them."""
        before = [spelled(job, self.before_name)] if self.before_name else []
        if self.before_name_expression:
            before = [f"/{self.before_name_expression}/", *before]
        number = [f"/{self.after_name_expression}/"] if self.after_name_expression else []
        alternatives = []
        for tool in job.tools:
            after = [lark.quoted(tool.name), *number, spelled(job, self.after_name)]
            alternatives.append(" ".join([*after, lark.json_rule(lark.arguments_schema(tool))]))
        rules = [f"named: {' | '.join(alternatives)}"] if alternatives else []
        rules.append(
            " ".join(["call:", spelled(job, self.opening), *before, "named", spelled(job, self.closing)])
        )
        more = f"({self.between} call)*" if job.parallel else ""
        return rules, f"call {more} {spelled(job, self.section[1])}"

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        names = frozenset(tool.name for tool in tools)
        reader = AnswerScript(lambda text: self.read(text, names))
        return with_thoughts(reader, thoughts, thinks=thinks)

    def read(
        self,
        text: AnswerText,
        names: frozenset[str],
        other_marks: Mapping[str, Callable[[], Steps[None]]] = _NONE,
    ) -> Steps[None]:
        """Read an answer. A mark of `other_marks` is left out, and what it maps to reads what follows."""
        yield from text.bare_calls(names)
        openings = [self.section[0], *self.other_openings, self.opening]
        while (mark := (yield from text.until([*openings, *other_marks]))) is not None:
            if mark in other_marks:
                yield from other_marks[mark]()
                continue
            raw = mark
            if mark != self.opening:
                raw += yield from text.skip()
                if (yield from text.mark([self.opening], skip="")) is None:
                    text.add_content(raw)
                    continue
                raw += self.opening
            while (yield from self._read_call(text, names, raw)):
                if (yield from text.mark([self.opening, self.section[1]])) != self.opening:
                    break
                raw = self.opening

    def _read_call(self, text: AnswerText, names: frozenset[str], raw: str) -> Steps[bool]:
        """Read a call behind its opening mark; return False, with all of it handed out, if it is none."""
        header, end = yield from text.word([self.header_end])
        found = self.name_in_header.fullmatch(header)
        if end is None or found is None or found["name"] not in names:
            text.add_content(raw + header + (end or ""))
            return False
        text.begin_call(found["name"], found.groupdict().get("id"))
        if not (yield from text.json_arguments()):
            return True
        closings = [self.closing.strip(), *self.loose_closings]
        stray = ""
        if (yield from text.mark(closings)) is None:
            stray, mark = yield from text.word(closings)
            if mark is None:
                text.add_content(stray)
                return True
        text.end_call()
        if stray.strip():
            text.add_content(stray)
        return True
