"""`ThoughtsFirst`: splits thoughts off the beginning of an answer, and hands on the rest. Pure."""

from __future__ import annotations

from enum import Enum, auto

from server.chat.tool_formats.reading.text_buffer import TextBuffer
from server.chat.tool_formats.tool_format import Content, Part, PartReader, Thought


class _State(Enum):
    BEFORE = auto()
    """White space may have come, and the opening mark may follow."""
    OPENED = auto()
    """The thoughts have begun; white space in front of them is left out."""
    INSIDE = auto()
    CLOSED = auto()
    """The thoughts have ended; white space behind them is left out."""
    REST = auto()


class ThoughtsFirst:
    """A `PartReader`. Thoughts stand at the beginning or nowhere; white space around them is left out."""

    def __init__(self, rest: PartReader, marks: tuple[str, str], *, thinks: bool) -> None:
        self._rest = rest
        self._opening, self._closing = marks
        self._state = _State.OPENED if thinks else _State.BEFORE
        self._thinks = thinks
        self._buffer = TextBuffer()
        self._space = ""
        """White space within the thoughts, left out if they end with it."""

    def feed(self, text: str) -> list[Part]:
        if self._state is _State.REST:
            return self._rest.feed(text)
        self._buffer.feed(text)
        parts: list[Part] = []
        if self._state is _State.BEFORE and not self._begin():
            return parts
        if self._state is _State.OPENED and self._thinks and not self._skip_repeated_opening():
            return parts
        if self._state in (_State.OPENED, _State.INSIDE):
            self._read_thoughts(parts)
        if self._state is _State.CLOSED:
            self._buffer.text = self._buffer.text.lstrip()
            if not self._buffer.text:
                return parts
            self._state = _State.REST
        if self._state is _State.REST:
            parts += self._rest.feed(self._buffer.take_all())
        return parts

    def end(self) -> list[Part]:
        left = self._buffer.take_all()
        if self._state in (_State.OPENED, _State.INSIDE):
            return [Thought(self._space + left)] if left.strip() else []
        return [*(self._rest.feed(left) if left else []), *self._rest.end()]

    def _begin(self) -> bool:
        """Go on if it is certain whether the answer begins with thoughts."""
        start = self._buffer.text.lstrip()
        if start.startswith(self._opening):
            self._buffer.text = start[len(self._opening) :]
            self._state = _State.OPENED
            return True
        if start.startswith(self._closing):  # MiniMax M3 says so that it doesn't think
            self._buffer.text = start[len(self._closing) :]
            self._state = _State.CLOSED
            return True
        if self._opening.startswith(start) or self._closing.startswith(start):
            return False
        self._state = _State.REST
        return True

    def _skip_repeated_opening(self) -> bool:
        """Leave an opening mark out that the model repeats although the prompt has it."""
        start = self._buffer.text.lstrip()
        if self._opening.startswith(start) and start != self._opening:
            return False
        self._buffer.text = start.removeprefix(self._opening)
        self._thinks = False
        return True

    def _read_thoughts(self, parts: list[Part]) -> None:
        text, mark = self._buffer.take_until([self._closing])
        text = self._space + text
        if self._state is _State.OPENED:
            text = text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown:
            self._state = _State.INSIDE
            parts.append(Thought(shown))
        if mark is not None:
            self._state = _State.CLOSED


def with_thoughts(rest: PartReader, thoughts: tuple[str, str] | None, *, thinks: bool) -> PartReader:
    """Return a reader that splits thoughts off in front of `rest`, if the model has marks for them."""
    return rest if thoughts is None else ThoughtsFirst(rest, thoughts, thinks=thinks)


class PlainText:
    """A `PartReader` of an answer that is content alone."""

    def feed(self, text: str) -> list[Part]:
        return [Content(text)] if text else []

    def end(self) -> list[Part]:
        return []
