"""`JsonValue`: finds the end of a JSON value in text that comes in pieces. Pure."""

from __future__ import annotations

_CLOSING = {"{": "}", "[": "]"}


class JsonValue:
    """One value of any kind. It isn't checked but for its brackets and strings."""

    def __init__(self) -> None:
        self.is_object = False
        """True once the value has begun as an object."""
        self.is_wrong = False
        """True if this can't be JSON: its brackets don't match, or it has no beginning."""
        self._open: list[str] = []
        self._in_string = False
        self._escaped = False
        self._begun = False

    def feed(self, text: str, start: int = 0) -> int | None:
        """Return the place behind the value's end; None if it hasn't come.

        A number or a word ends before the character that follows it.
        """
        for place in range(start, len(text)):
            taken = self._in_text(text[place]) if self._in_string else self._outside(text[place])
            if taken is not None:
                return place + taken
        return None

    def _in_text(self, char: str) -> int | None:
        """Read a character of a string; return how many of it belong to the value if it ends here."""
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_string = False
            if not self._open:
                return 1
        return None

    def _outside(self, char: str) -> int | None:
        """Read a character outside of strings; return how many of it belong to the value if it ends here."""
        if char == '"' or char in _CLOSING:
            return self._begin(char)
        if char in "}]":
            return self._close(char)
        if not self._open and (char == "," or (self._begun and char.isspace())):
            self.is_wrong = not self._begun
            return 0
        self._begun = self._begun or not char.isspace()
        return None

    def _begin(self, char: str) -> int | None:
        """Begin a string, an object or a list, which can't follow a value."""
        if self._begun and not self._open:
            self.is_wrong = True
            return 0
        self.is_object = self.is_object or (not self._begun and char == "{")
        self._begun = True
        if char == '"':
            self._in_string = True
        else:
            self._open.append(_CLOSING[char])
        return None

    def _close(self, char: str) -> int | None:
        if not self._open:
            self.is_wrong = not self._begun
            return 0
        if self._open.pop() != char:
            self.is_wrong = True
            return 0
        return None if self._open else 1
