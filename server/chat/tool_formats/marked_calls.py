"""`MarkedCalls`: a reader of content with calls between two marks, one object or a list of them. Pure.

An object at the very beginning of an answer that names a tool is a call, too: models that were trained to
write marks sometimes leave them out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from server.chat.tool_formats.text_buffer import TextBuffer
from server.chat.tool_formats.tool_format import Content, EndCall, Part


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
    """Between the marks, outside of a call."""
    CALL = auto()


class MarkedCalls:
    """A `PartReader`. White space in front of a call, and between and behind calls, is left out."""

    def __init__(
        self,
        make_call: Callable[[], CallReader],
        opening: str,
        closing: str | None,
        *,
        call_begins: str = "{",
        unwrapped: bool = True,
    ) -> None:
        """`closing` None: the calls go on to the answer's end. A call begins with the text `call_begins`."""
        self._make_call = make_call
        self._opening, self._closing = opening, closing
        self._call_begins = call_begins
        self._unwrapped = unwrapped
        self._state = _State.START
        self._buffer = TextBuffer()
        self._space = ""
        """White space that is content only if more of it follows."""
        self._call: CallReader | None = None
        self._behind_call = False
        """True from the end of a call to the next content."""
        self._marked = False
        self._between = ""
        """The text since the last call or content: content itself, if no call follows."""

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
            parts += self._call.end()
        elif self._state in (_State.START, _State.CONTENT):
            self._add_content(left, parts)
            if self._space:
                parts.append(Content(self._space))
        elif (self._between + left).strip(" \t\r\n[],;"):
            parts.append(Content(self._space + self._between + left))
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
        text = self._buffer.text.lstrip()
        if not text or (self._unwrapped and self._call_begins.startswith(text) and text != self._call_begins):
            return False
        self._state = _State.CONTENT
        if self._unwrapped and text.startswith(self._call_begins):
            self._space = self._buffer.take(len(self._buffer.text) - len(text))
            self._begin_call(marked=False)
        return True

    def _read_content(self, parts: list[Part]) -> bool:
        text, mark = self._buffer.take_until([self._opening])
        self._add_content(text, parts)
        if mark is None:
            return False
        self._marked, self._between = True, mark
        self._state = _State.BETWEEN
        return True

    def _read_between(self, parts: list[Part]) -> bool:
        """White space, and the brackets and commas of a list, stand between calls."""
        text = self._buffer.text.lstrip(" \t\r\n[],;")
        self._between += self._buffer.take(len(self._buffer.text) - len(text))
        marks = [self._call_begins, *([self._closing] if self._closing else []), self._opening]
        if not text or (self._buffer.begins(marks) and text not in marks):
            return False
        if self._closing and text.startswith(self._closing):
            self._buffer.take(len(self._closing))
            self._state = _State.CONTENT
        elif text.startswith(self._opening):
            self._buffer.take(len(self._opening))
        elif text.startswith(self._call_begins):
            self._begin_call(marked=True)
        else:  # no call stands here: nothing of it gets lost
            self._add_content(self._between, parts)
            self._state = _State.CONTENT
        return True

    def _begin_call(self, *, marked: bool) -> None:
        self._marked = marked
        self._call = self._make_call()
        self._state = _State.CALL

    def _read_call(self, parts: list[Part]) -> bool:
        assert self._call is not None
        found, rest = self._call.feed(self._buffer.take_all())
        for part in found:
            if isinstance(part, Content):
                self._add_content(part.text, parts)
            else:
                self._space = ""
                parts.append(part)
        self._buffer.text = rest
        if not self._call.is_done:
            return False
        ended = any(isinstance(part, EndCall) for part in found)
        self._behind_call = ended
        self._between = ""
        self._state = _State.BETWEEN if ended and self._marked else _State.CONTENT
        return bool(rest)

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
