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
            char = text[place]
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif char == "\\":
                    self._escaped = True
                elif char == '"':
                    self._in_string = False
                    if not self._open:
                        return place + 1
            elif char == '"':
                if self._begun and not self._open:
                    self.is_wrong = True
                    return place
                self._begun = self._in_string = True
            elif char in _CLOSING:
                if self._begun and not self._open:
                    self.is_wrong = True
                    return place
                self.is_object = self.is_object or (not self._begun and char == "{")
                self._begun = True
                self._open.append(_CLOSING[char])
            elif char in "}],":
                if not self._open:
                    self.is_wrong = not self._begun
                    return place
                if char != ",":
                    if self._open.pop() != char:
                        self.is_wrong = True
                        return place
                    if not self._open:
                        return place + 1
            elif not self._begun and not char.isspace():
                self._begun = True
            elif self._begun and not self._open and char.isspace():
                return place
        return None
