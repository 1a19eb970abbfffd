"""`MarkedCalls`: a reader of content with calls behind marks, one call or a list of them. Pure.

An object at the very beginning of an answer that names a tool is a call, too, also in a fence of Markdown:
models that were trained to write marks sometimes leave them out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from server.chat.tool_formats.reading.text_buffer import TextBuffer
from server.chat.tool_formats.tool_format import Content, EndCall, Part

_FENCE = "```json"
_START = re.compile(r"\s*(?:```(?:json)?\s*)?")
_LIST_START = re.compile(r"\s*(?:```(?:json)?)?[\s\[]*")
_SPACE = " \t\r\n"


class CallReader(Protocol):
    """Reads one call: what stands between two marks, or one element of the list there."""

    @property
    def is_done(self) -> bool:
        """True once the call has ended, or is known to be none."""

    def feed(self, text: str) -> tuple[list[Part], str]:
        """Return the parts that are certain, and the text behind the call.

        What is no call is returned as content, with all that was read of it.
        """

    def end(self) -> list[Part]:
        """Return the rest: the answer has ended within the call."""


class _State(Enum):
    START = auto()
    """Nothing but white space has come."""
    CONTENT = auto()
    BETWEEN = auto()
    """Behind an opening mark or a call, where a call, a mark or content may follow."""
    CALL = auto()


class MarkedCalls:
    """A `PartReader`. White space in front of a call, and between and behind calls, is left out."""

    def __init__(
        self,
        make_call: Callable[[], CallReader],
        opening: str | Sequence[str],
        closing: str | None,
        *,
        call_begins: str = "{",
        unwrapped: str = "{",
        bare: Sequence[str] = (),
        separators: str = _SPACE + "[],;",
        mark_per_call: bool = False,
    ) -> None:
        """`closing` None: the calls go on to the answer's end. A call begins with the text `call_begins`.

        A call without marks at the answer's beginning begins with `unwrapped`; empty: there is none. `bare`
        texts begin a call anywhere, and are its first characters. `separators` stand between marks and
        calls. `mark_per_call`: each call has an opening mark of its own.
        """
        self._make_call = make_call
        self._openings = [opening] if isinstance(opening, str) else list(opening)
        self._closing = closing
        self._call_begins = call_begins
        self._unwrapped = unwrapped
        self._bare = list(bare)
        self._separators = separators
        self._mark_per_call = mark_per_call
        self._state = _State.START
        self._buffer = TextBuffer()
        self._call: CallReader | None = None
        self._space = ""
        """White space at the content's end so far: left out if a call follows."""
        self._behind_call = False
        """True from the end of a call to the next content."""
        self._may_call = False
        """True where a call may begin without another mark."""
        self._between = ""
        """The marks and separators in front of what comes: content, if no call follows."""
        self._fence = False

    def feed(self, text: str) -> list[Part]:
        self._buffer.feed(text)
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def end(self) -> list[Part]:
        parts: list[Part] = []
        left = self._buffer.take_all()
        if self._state is _State.CALL and self._call is not None:
            for part in self._call.end():
                self._hand_out(part, parts)
        elif self._state is _State.BETWEEN and self._behind_call:
            if left.strip(self._separators + "`"):
                self._add_content(self._between + left, parts)
        else:
            self._add_content(self._between + left, parts)
        if self._space and not self._behind_call:
            parts.append(Content(self._space))
        return parts

    def _step(self, parts: list[Part]) -> bool:
        """Read on; return True if there may be more to read."""
        if self._state is _State.START:
            return self._start()
        if self._state is _State.CONTENT:
            return self._read_content(parts)
        if self._state is _State.BETWEEN:
            return self._read_between(parts)
        return self._read_call(parts)

    def _start(self) -> bool:
        """Begin a call that stands without marks at the answer's beginning, or content."""
        text = self._buffer.text
        begun = text.lstrip()
        if not begun or (self._unwrapped and _FENCE.startswith(begun)):
            return False
        self._state = _State.CONTENT
        if self._unwrapped:
            found = (_LIST_START if "[" in self._separators else _START).match(text)
            place = found.end() if found else 0
            if self._unwrapped.startswith(text[place:]) and text[place:] != self._unwrapped:
                self._state = _State.START
                return False
            if text.startswith(self._unwrapped, place):
                self._fence = begun.startswith("```")
                self._between = self._buffer.take(place)
                self._begin_call()
        return True

    def _read_content(self, parts: list[Part]) -> bool:
        text, mark = self._buffer.take_until([*self._openings, *self._bare])
        self._add_content(text, parts)
        if mark is None:
            return False
        if mark in self._bare:
            self._buffer.text = mark + self._buffer.text
            self._begin_call()
            return True
        self._between, self._may_call = mark, True
        self._state = _State.BETWEEN
        return True

    def _read_between(self, parts: list[Part]) -> bool:
        """Read what stands in front of a call: marks and separators, or content."""
        marks = [*self._openings, *self._bare, *([self._closing] if self._closing else [])]
        if self._fence:
            marks.append("```")
        text = self._buffer.text
        mark = max((mark for mark in marks if text.startswith(mark)), key=len, default=None)
        if not text or (mark is None and any(mark.startswith(text) for mark in marks)):
            return False
        if mark is not None:
            return self._read_mark(mark, parts)
        if self._may_call and self._call_begins and text.startswith(self._call_begins):
            self._begin_call()
        elif self._may_call and self._call_begins.startswith(text) and self._call_begins:
            return False
        elif text[0] in self._separators:
            self._between += self._buffer.take(1)
        elif self._may_call and not self._call_begins:
            self._begin_call()
        else:  # no call stands here: nothing of it gets lost
            self._add_content(self._between, parts)
            self._between = ""
            self._state = _State.CONTENT
        return True

    def _read_mark(self, mark: str, parts: list[Part]) -> bool:
        if mark in self._bare:
            self._begin_call()
            return True
        self._buffer.take(len(mark))
        if mark in self._openings:
            if not self._behind_call:
                self._add_content(self._between, parts)
            self._between, self._may_call = mark, True
            return True
        self._fence = False
        if self._behind_call:
            self._between, self._may_call = "", False
        else:
            self._add_content(self._between + mark, parts)
            self._between = ""
            self._state = _State.CONTENT
        return True

    def _begin_call(self) -> None:
        self._call = self._make_call()
        self._state = _State.CALL

    def _read_call(self, parts: list[Part]) -> bool:
        assert self._call is not None
        found, rest = self._call.feed(self._buffer.take_all())
        for part in found:
            self._hand_out(part, parts)
        self._buffer.text = rest
        if not self._call.is_done:
            return False
        ended = any(isinstance(part, EndCall) for part in found)
        self._behind_call = ended
        self._may_call = ended and not self._mark_per_call
        self._between = ""
        self._state = _State.BETWEEN if ended else _State.CONTENT
        return bool(rest)

    def _hand_out(self, part: Part, parts: list[Part]) -> None:
        """Hand a call's part out; content is what turned out to be no call, and its marks belong to it."""
        if isinstance(part, Content):
            self._add_content(self._between + part.text, parts)
        else:
            self._space = ""
            parts.append(part)
        self._between = ""

    def _add_content(self, text: str, parts: list[Part]) -> None:
        """Hand out content without the white space at its end, nor at its beginning behind a call."""
        text = self._space + text
        if self._behind_call:
            text = text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown:
            self._behind_call = False
            parts.append(Content(shown))
