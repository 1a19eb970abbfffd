"""`ObjectLists`: formats that write calls as JSON objects between marks, some in lists. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, spelled
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool


@dataclass(frozen=True, kw_only=True)
class ObjectLists:
    """A `ToolFormat` made of its marks and of the keys of its objects."""

    tokens: tuple[str, ...]
    """Marks that vocabularies may have as tokens."""
    is_used_by: Callable[[str], bool]
    """Returns True if a template writes calls so."""
    opening: str
    closing: str = ""
    """The mark behind the objects; empty: there is none."""
    other_openings: tuple[str, ...] = ()
    """The marks that may stand in the opening's place."""
    late_openings: tuple[str, ...] = ()
    """The opening behind marks that end a message, in which content stands or nothing."""
    is_list: bool = True
    """The objects stand in a list; else each on a line of its own."""
    has_own_marks: bool = False
    """Each object stands between the marks for itself, on a line of its own."""
    is_single: bool = False
    """There is one object at most, and no list."""
    name_key: str = "name"
    arguments_key: str = "arguments"
    id_key: str = ""
    """The key of a call's number, if it has one: it stands first."""
    behind: str = ""
    """The expression of members that follow a call's arguments."""
    is_indented: bool = False
    """The template breaks the JSON into lines: it may have any white space."""
    is_tight: bool = False
    """No white space stands around the objects of a list, but one space behind each comma."""
    content: tuple[str, ...] = ()
    """The marks around content, each opening one with its closing one, which are left out of it."""

    @property
    def marks(self) -> tuple[str, ...]:
        return self.tokens

    @property
    def openings(self) -> tuple[str, ...]:
        return (self.opening, *self.other_openings)

    def matches(self, template: str) -> bool:
        return self.is_used_by(template)

    def grammar(self, job: GrammarJob) -> str:
        rules = [f"object: {' | '.join(self._object(tool) for tool in job.tools)}"] if job.tools else []
        opening, closing = spelled(job, self.opening), spelled(job, self.closing)
        free = "" if self.is_tight else _FREE
        if self.is_single:
            behind = f"{_FREE} object ({closing})?"  # the mark may be the end of the answer
        elif self.has_own_marks:
            one = rf'"\n" object "\n" {closing}'
            behind = rf"{one} (/\n{{0,2}}/ {opening} {one})*" if job.parallel else one
        elif self.is_list:
            comma = '", "' if self.is_tight else f'{free} "," {free}'
            more = f"({comma} object)*" if job.parallel else ""
            behind = f'{free} "[" {free} object {more} {free} "]" {free} {closing}'
        else:
            more = r"(/\n/ object)*" if job.parallel else ""
            behind = rf"{_FREE} object {more} {_FREE} {closing}"
        openings = [self.opening, *self.late_openings]
        if self.late_openings:
            opening = lark.choice([spelled(job, mark) for mark in openings])
        around = list(zip(self.content[::2], self.content[1::2], strict=True))
        calls = f"{opening} {behind}"
        return answer(job, calls, openings, rules, after_opening=behind, around=around)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        names = frozenset(tool.name for tool in tools)
        reader = AnswerScript(lambda text: self._read(text, names))
        return with_thoughts(reader, thoughts, thinks=thinks)

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """Return the calls as a list, as the grammar has them."""
        names = [json.dumps(name, ensure_ascii=False) for name, _ in calls]
        listed = [
            f'{{"{self.name_key}": {name}, "{self.arguments_key}": {arguments}}}'
            for name, (_, arguments) in zip(names, calls, strict=True)
        ]
        return f"{self.opening}[{', '.join(listed)}]{self.closing}"

    def _object(self, tool: Tool) -> str:
        if self.is_indented:
            name = f"{json.dumps(self.name_key)}: {json.dumps(tool.name, ensure_ascii=False)},"
            keys = f"{lark.quoted(name)} {_FREE} {lark.quoted(json.dumps(self.arguments_key) + ': ')}"
            arguments = f"%json {json.dumps(lark.arguments_schema(tool), ensure_ascii=False)}"
            return f'"{{" {_FREE} {keys} {arguments} {_FREE} "}}"'
        number = rf"""{lark.quoted(f'"{self.id_key}": "')} /[0-9]{{1,3}}/ "\", " """ if self.id_key else ""
        return lark.json_call(
            tool,
            name_key=self.name_key,
            arguments_key=self.arguments_key,
            before=number,
            behind=self.behind,
        )

    def _read(self, text: AnswerText, names: frozenset[str]) -> Steps[None]:
        yield from text.bare_calls(names, self.closing.strip())
        openings = [self.opening, *self.other_openings, *self.late_openings]
        while (mark := (yield from text.until([*openings, *self.content]))) is not None:
            if mark in openings:
                yield from text.listed_calls(
                    names,
                    mark,
                    self.closing.strip(),
                    name_keys=(self.name_key, "name"),
                    id_keys=(self.id_key or "id",),
                )


_FREE = r"/[ \n\t]{0,16}/"
