"""`AnswerReader`: the step that reads thoughts and tool calls out of an answer's text.

It stands between a request's events and the answer in a protocol's form. The worker says in `Started` what
the text is made of; where that is content alone, events pass as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.chat.call_ids import new_call_id
from server.chat.sound_schemas import sound_tool
from server.chat.tool_formats.registry import tool_formats
from server.chat.tool_formats.thoughts_first import PlainText, ThoughtsFirst
from server.chat.tool_formats.tool_format import (
    Arguments,
    BeginCall,
    Content,
    EndCall,
    Part,
    PartReader,
    Thought,
    WithOpenings,
)
from server.chat.tools import Tool
from server.engine.events import AnswerForm, ChoiceEnd, Delta, Event, Started
from server.metrics.origin import current_origin
from server.supervisor.protocol import EventListener

_LEAST_MARK = 2
"""The beginning of a mark has so many letters."""


class AnswerReader:
    """An `EventListener`: the engine's events in, `AnswerEvent`s out to the next listener."""

    def __init__(self, listener: EventListener, tools: Sequence[Tool]) -> None:
        self._listener = listener
        self._tools = [sound_tool(tool)[0] for tool in tools]
        self._form: AnswerForm | None = None
        self._choices: dict[int, _Choice] = {}
        self._origin = current_origin()

    def on_event(self, event: Event) -> None:
        """Take an event; hand on what it makes."""
        if isinstance(event, Started):
            self._form = event.form
        if self._form is None or not isinstance(event, Delta | ChoiceEnd):
            self._listener.on_event(event)
            return
        if isinstance(event, Delta) and event.is_prompt:  # an echo is no part of the answer
            self._listener.on_event(event)
            return
        choice = self._choices.get(event.index)
        if choice is None:
            choice = self._choices[event.index] = _Choice(reader_of(self._form, self._tools))
        if isinstance(event, Delta):
            self._hand_on(event, choice, choice.reader.feed(event.text))
            return
        last = Delta(id=event.id, index=event.index, text="", n_tokens=0)
        parts = choice.reader.end()
        if event.finish_reason == "length":
            if self._tools:
                parts = without_cut_call(parts, self._form)
            parts = without_begun_mark(parts, marks_of(self._form))
        self._hand_on(last, choice, parts)
        if choice.n_calls and event.finish_reason == "stop":
            event = msgspec.structs.replace(event, finish_reason="tool_calls")
            self._origin.called.add(event.index)
        self._listener.on_event(event)

    async def drained(self) -> None:
        """Wait for the next listener."""
        await self._listener.drained()

    def _hand_on(self, event: Delta, choice: _Choice, parts: list[Part]) -> None:
        """Hand the parts on; the first has what came with the text."""
        if not parts:
            if event.n_tokens or event.logprobs:
                self._listener.on_event(msgspec.structs.replace(event, text=""))
            return
        for part in parts:
            self._listener.on_event(choice.event(part, event))
            event = Delta(id=event.id, index=event.index, text="", n_tokens=0)


def without_cut_call(parts: list[Part], form: AnswerForm) -> list[Part]:
    """Return the last parts of an answer that the token limit cut, without a call that has no name yet.

    It is content that begins with a mark, and all content behind it.
    """
    if form.tool_format is None:
        return parts
    marks = tuple(filter(None, (mark.strip() for mark in _format_marks(form.tool_format))))
    begins = (
        place
        for place, part in enumerate(parts)
        if isinstance(part, Content) and (form.calls_only or part.text.strip().startswith(marks))
    )
    begin = next(begins, len(parts))
    return parts[:begin] + [part for part in parts[begin:] if not isinstance(part, Content)]


def reader_of(form: AnswerForm, tools: Sequence[Tool]) -> PartReader:
    """Return the reader of one answer of this form."""
    if form.tool_format is not None:
        known = tool_formats()[form.tool_format]
        return known.reader(tools, thoughts=form.thoughts, thinks=form.thinks)
    plain = PlainText()
    return plain if form.thoughts is None else ThoughtsFirst(plain, form.thoughts, thinks=form.thinks)


def marks_of(form: AnswerForm) -> tuple[str, ...]:
    """Return the marks that divide the parts of an answer of this form."""
    marks = form.thoughts or ()
    return marks if form.tool_format is None else (*marks, *_format_marks(form.tool_format))


def _format_marks(name: str) -> tuple[str, ...]:
    """Return the marks of a format, and the texts that open its calls."""
    known = tool_formats()[name]
    return (*known.marks, *(known.openings if isinstance(known, WithOpenings) else ()))


def without_begun_mark(parts: list[Part], marks: Sequence[str]) -> list[Part]:
    """Return the last parts of an answer that the token limit has cut, without a mark that it has cut.

    One letter is no mark yet: it is text.
    """
    texts = list(takewhile(lambda part: isinstance(part, Content | Thought), reversed(parts)))[::-1]
    text = "".join(part.text for part in texts if isinstance(part, Content | Thought))
    begun = max((_n_begun(text, mark) for mark in marks), default=0)
    if begun < _LEAST_MARK:
        return parts
    kept, n_left = parts[: len(parts) - len(texts)], len(text) - begun
    for part in texts:
        assert isinstance(part, Content | Thought)
        left = part.text[: max(n_left, 0)]
        n_left -= len(part.text)
        if isinstance(part, Thought):
            left = left.rstrip()  # as before a whole mark
        if left:
            kept.append(type(part)(left))
    return kept


def _n_begun(text: str, mark: str) -> int:
    """Return the length of the longest end of the text that begins the mark and isn't all of it."""
    lengths = range(min(len(text), len(mark) - 1), 0, -1)
    return next((n for n in lengths if text.endswith(mark[:n])), 0)


class _Choice:
    """One choice's reader, and the calls it has had."""

    def __init__(self, reader: PartReader) -> None:
        self.reader = reader
        self.n_calls = 0

    def event(self, part: Part, event: Delta) -> Event:
        """Return the event of a part, with what came with the text it was made of."""
        match part:
            case Content():
                return msgspec.structs.replace(event, text=part.text)
            case Thought():
                return ThoughtDelta(**_fields(event, part.text))
            case BeginCall():
                self.n_calls += 1
                call_id = new_call_id(part.id)
                return CallBegin(**_fields(event, ""), call=self.n_calls - 1, call_id=call_id, name=part.name)
            case Arguments():
                return CallDelta(**_fields(event, part.text), call=self.n_calls - 1)
            case EndCall():
                return CallEnd(**_fields(event, ""), call=self.n_calls - 1)


def _fields(event: Delta, text: str) -> dict[str, Any]:
    return {**{name: getattr(event, name) for name in Delta.__struct_fields__}, "text": text}
