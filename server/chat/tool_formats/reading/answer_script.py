"""`AnswerScript`: a reader that is a generator, which reads an answer's text in order. Pure.

A script asks an `AnswerText` for what it wants next, such as the text up to a mark, and waits in between for
more of the answer to come. So a format reads as a grammar does, from top to bottom.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Sequence
from typing import TypeVar

from server.chat.tool_formats.reading.json_call import JsonCall
from server.chat.tool_formats.reading.json_value import JsonValue
from server.chat.tool_formats.reading.text_buffer import TextBuffer
from server.chat.tool_formats.tool_format import Arguments, BeginCall, Content, EndCall, Part, Thought

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A reading that waits for more text at each `yield`, and ends with a result."""

_BETWEEN_OBJECTS = " \t\r\n[],;"


class AnswerScript:
    """A `PartReader` that runs a script."""

    def __init__(self, script: Callable[[AnswerText], Steps[None]]) -> None:
        self._text = AnswerText()
        self._steps = script(self._text)
        self._is_done = False

    def feed(self, text: str) -> list[Part]:
        self._text.buffer.feed(text)
        self._run()
        return self._text.take_parts()

    def end(self) -> list[Part]:
        self._text.is_ended = True
        self._run()
        self._text.finish()
        return self._text.take_parts()

    def _run(self) -> None:
        if not self._is_done:
            try:
                next(self._steps)
            except StopIteration:
                self._is_done = True
        if self._is_done:
            self._text.add_content(self._text.buffer.take_all())


class AnswerText:
    """The text of an answer as far as it has come, and the parts that were made of it."""

    def __init__(self) -> None:
        self.buffer = TextBuffer()
        self.is_ended = False
        """True once no more text will come: nothing waits any longer."""
        self._parts: list[Part] = []
        self._space = ""
        """White space that is content only if more content follows."""
        self._thought_space = ""
        self._has_thought = False
        self._behind_call = False

    def take_parts(self) -> list[Part]:
        """Take the parts that are certain."""
        parts, self._parts = self._parts, []
        return parts

    def finish(self) -> None:
        """Hand out the white space at the end of an answer, unless a call stands there."""
        self.add_content(self.buffer.take_all())
        if self._space and not self._behind_call:
            self._parts.append(Content(self._space))
            self._space = ""

    def add_content(self, text: str) -> None:
        """Hand out content without the white space at its end, nor at its beginning behind a call."""
        text = self._space + text
        if self._behind_call:
            text = text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown:
            self._behind_call = False
            self._parts.append(Content(shown))

    def add_thought(self, text: str) -> None:
        """Hand out thoughts, without the white space around them."""
        text = self._thought_space + text
        if not self._has_thought:
            text = text.lstrip()
        shown = text.rstrip()
        self._thought_space = text[len(shown) :]
        if shown:
            self._has_thought = True
            self._parts.append(Thought(shown))

    def drop_space(self) -> None:
        """Forget the white space behind the last content: a mark ends it."""
        self._space = ""

    def begin_call(self, name: str, call_id: str | None = None) -> None:
        """Hand out the beginning of a call. White space in front of it is left out."""
        self._space = ""
        self._parts.append(BeginCall(name, call_id))

    def add_arguments(self, text: str) -> None:
        """Hand out a piece of the arguments."""
        if text:
            self._parts.append(Arguments(text))

    def end_call(self) -> None:
        """Hand out the end of a call."""
        self._behind_call = True
        self._parts.append(EndCall())

    def until(self, marks: Sequence[str], hand_out: Callable[[str], None] | None = None) -> Steps[str | None]:
        """Hand text out, as it comes, up to the first mark, which is returned; None: it never came."""
        hand_out = hand_out or self.add_content
        while True:
            before, mark = self.buffer.take_until(marks)
            if before:
                hand_out(before)
            if mark is not None:
                return mark
            if self.is_ended:
                if self.buffer.text:
                    hand_out(self.buffer.take_all())
                return None
            yield

    def word(self, marks: Sequence[str]) -> Steps[tuple[str, str | None]]:
        """Return the whole text up to the first mark, and the mark; None: it never came."""
        while True:
            before, mark = self.buffer.take_until(marks)
            if mark is not None:
                return before, mark
            self.buffer.text = before + self.buffer.text
            if self.is_ended:
                return self.buffer.take_all(), None
            yield

    def mark(self, marks: Sequence[str], *, skip: str = " \t\r\n", take: bool = True) -> Steps[str | None]:
        """Take the mark that stands next, behind characters of `skip`; None, and nothing taken: none does."""
        while True:
            text = self.buffer.text.lstrip(skip)
            longer = [mark for mark in marks if len(mark) > len(text) and mark.startswith(text)]
            if not longer or self.is_ended:
                found = max((mark for mark in marks if text.startswith(mark)), key=len, default=None)
                if found is not None and take:
                    self.buffer.text = text[len(found) :]
                return found
            yield

    def skip(self, characters: str = " \t\r\n") -> Steps[str]:
        """Take characters of that kind until another one has come; return them."""
        skipped = ""
        while True:
            rest = self.buffer.text.lstrip(characters)
            skipped += self.buffer.take(len(self.buffer.text) - len(rest))
            if rest or self.is_ended:
                return skipped
            yield

    def json(self, hand_out: Callable[[str], None]) -> Steps[bool]:
        """Hand out a JSON value as it comes; return True if it is whole."""
        yield from self.skip()
        value = JsonValue()
        while True:
            end = value.feed(self.buffer.text)
            piece = self.buffer.take_all() if end is None else self.buffer.take(end)
            if piece:
                hand_out(piece)
            if end is not None or self.is_ended:
                return end is not None and not value.is_wrong
            yield

    def json_arguments(self) -> Steps[bool]:
        """Read a call's arguments, an object or a string of one; return True if they are whole."""
        yield from self.skip()
        if self.buffer.text.startswith("{"):
            return (yield from self.json(self.add_arguments))
        if not self.buffer.text.startswith('"'):
            self.add_arguments("{}")
            return True
        pieces: list[str] = []
        is_whole = yield from self.json(pieces.append)
        written = "".join(pieces)
        try:
            value = json.loads(written) if is_whole else written
        except ValueError:
            value = written
        self.add_arguments(value if isinstance(value, str) else written)
        return is_whole

    def json_call(
        self,
        names: Collection[str],
        *,
        name_keys: Collection[str] = ("name", "tool_name"),
        id_keys: Collection[str] = ("id",),
    ) -> Steps[bool]:
        """Read a call that is a JSON object; return False if it is none, which leaves its text to be read."""
        call = JsonCall(names, name_keys=name_keys, id_keys=id_keys)
        while True:
            found, rest = call.feed(self.buffer.take_all())
            refused = ""
            for part in found:
                if isinstance(part, Content):
                    refused += part.text
                elif isinstance(part, BeginCall):
                    self.begin_call(part.name, part.id)
                elif isinstance(part, EndCall):
                    self.end_call()
                else:
                    self._parts.append(part)
            self.buffer.text = refused + rest
            if call.is_done:
                return not refused
            if self.is_ended:
                cut = "".join(part.text for part in call.end() if isinstance(part, Content))
                self.buffer.text = cut
                return not cut
            yield

    def bare_calls(self, names: Collection[str], closing: str = "") -> Steps[None]:
        """Read JSON objects that call tools at the beginning of an answer, in a fence of Markdown or bare.

        A mark `closing` behind them belongs to them, although none has opened.
        """
        space = yield from self.skip()
        fence = yield from self.mark(["```json", "```"], skip="")
        inner = yield from self.skip(_BETWEEN_OBJECTS)
        if self.buffer.text.startswith("{") and (yield from self.json_call(names)):
            while True:
                between = yield from self.skip(_BETWEEN_OBJECTS)
                if not self.buffer.text.startswith("{"):
                    break
                if not (yield from self.json_call(names)):
                    self.add_content(between)
                    return
            if fence or closing:
                yield from self.mark(["```"] if fence else [closing])
        else:
            self.buffer.text = space + (fence or "") + inner + self.buffer.text

    def listed_calls(
        self,
        names: Collection[str],
        opening: str,
        closing: str,
        *,
        name_keys: Collection[str] = ("name", "tool_name"),
        id_keys: Collection[str] = ("id",),
    ) -> Steps[None]:
        """Read objects between two marks, the first of which was taken: a list, or one after the other."""
        raw = opening
        while True:
            raw += yield from self.skip(_BETWEEN_OBJECTS)
            if closing and (yield from self.mark([closing], skip="")):
                return
            if not self.buffer.text.startswith("{") or not (
                yield from self.json_call(names, name_keys=name_keys, id_keys=id_keys)
            ):
                if raw.strip(_BETWEEN_OBJECTS):  # a call that was cut stays in one piece with its mark
                    self.add_content(raw + (self.buffer.take_all() if self.is_ended else ""))
                return
            raw = ""
