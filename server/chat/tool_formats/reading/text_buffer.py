"""`TextBuffer`: text that comes in pieces, taken in parts that no later piece can change. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class TextBuffer:
    """Text that has come and not been taken."""

    def __init__(self) -> None:
        self.text = ""

    def feed(self, text: str) -> None:
        """Add what has come."""
        self.text += text

    def take(self, n_chars: int) -> str:
        """Take the next characters."""
        taken, self.text = self.text[:n_chars], self.text[n_chars:]
        return taken

    def take_all(self) -> str:
        """Take everything."""
        return self.take(len(self.text))

    def take_until(self, marks: Sequence[str]) -> tuple[str, str | None]:
        """Take the text before the first mark, and that mark; None if none has come whole.

        Without a mark the text that may be the beginning of one stays.
        """
        places = [(place, -len(mark), mark) for mark in marks if (place := self.text.find(mark)) >= 0]
        if places:
            place, _, mark = min(places)
            before = self.take(place)
            self.take(len(mark))
            return before, mark
        return self.take(len(self.text) - self._n_held(marks)), None

    def begins(self, marks: Sequence[str]) -> bool:
        """Return True if the text is the beginning of a mark, or may become one: nothing is certain yet."""
        return any(mark.startswith(self.text) for mark in marks)

    def _n_held(self, marks: Sequence[str]) -> int:
        """Return the length of the longest end of the text that begins a mark."""
        longest = min(len(self.text), max((len(mark) for mark in marks), default=1) - 1)
        for n_chars in range(longest, 0, -1):
            if any(mark.startswith(self.text[-n_chars:]) for mark in marks):
                return n_chars
        return 0
