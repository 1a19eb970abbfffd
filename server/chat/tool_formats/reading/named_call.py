"""`NamedCall`: reads one call whose name stands in front of its arguments, a JSON object. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection

from server.chat.tool_formats.reading.json_value import JsonValue
from server.chat.tool_formats.tool_format import Arguments, BeginCall, Content, EndCall, Part

_MAX_HEAD = 512
"""A head has at most so many characters: a longer one is no call's."""


class NamedCall:
    """Reads `OPENING name SEPARATOR {…} CLOSING`, such as `<function=f>{…}</function>` or `f[ARGS]{…}`.

    Between the name and the separator stands nothing, or whatever `name_of` takes off. A head that names no
    tool is content, as it came.
    """

    def __init__(
        self,
        names: Collection[str],
        *,
        opening: str = "",
        separator: str,
        closing: str = "",
        name_of: Callable[[str], str] = str.strip,
        id_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """`name_of` takes the name out of the text between opening and separator, `id_of` the call's id."""
        self.is_done = False
        self._names = names
        self._opening, self._separator, self._closing = opening, separator, closing
        self._name_of, self._id_of = name_of, id_of
        self._head = ""
        self._begun = False
        self._value = JsonValue()
        self._has_value = self._value_ended = False
        self._tail = ""

    def feed(self, text: str) -> tuple[list[Part], str]:
        """Return the parts that are certain, and the text behind the call."""
        parts: list[Part] = []
        if not self._begun:
            known = len(self._head)
            self._head += text
            found = self._head.find(self._separator, max(0, known - len(self._separator)))
            head = self._head if found < 0 else self._head[:found]
            if not self._may_be(head, whole=found >= 0):
                self.is_done = True
                return [Content(self._head[:1])], self._head[1:]
            if found < 0:
                return [], ""
            text = self._head[found + len(self._separator) :]
            self._begun = True
            inside = head[len(self._opening) :]
            parts.append(BeginCall(self._name_of(inside), self._id_of(inside)))
        if not self._value_ended:
            text = self._read_value(text, parts)
        if self._value_ended and not self.is_done:
            text = self._read_closing(text, parts)
        return parts, text

    def end(self) -> list[Part]:
        """Return the rest of a call that was cut."""
        if self._begun:
            return [EndCall()] if self._value_ended else []
        return [Content(self._head)] if self._head else []

    def _may_be(self, head: str, *, whole: bool) -> bool:
        """Return True if this can be a call's head, or its beginning."""
        if not head.startswith(self._opening):
            return self._opening.startswith(head) and not whole
        name = self._name_of(head[len(self._opening) :])
        if whole:
            return name in self._names
        return len(head) <= _MAX_HEAD

    def _read_value(self, text: str, parts: list[Part]) -> str:
        if not self._has_value:
            text = text.lstrip()
            if not text:
                return ""
            if not text.startswith("{"):  # a call without arguments
                self._value_ended = True
                parts.append(Arguments("{}"))
                return text
            self._has_value = True
        end = self._value.feed(text)
        piece = text if end is None else text[:end]
        if piece:
            parts.append(Arguments(piece))
        if self._value.is_wrong:
            self.is_done = True
        self._value_ended = end is not None
        return "" if end is None else text[end:]

    def _read_closing(self, text: str, parts: list[Part]) -> str:
        """Read the closing mark; a call without it has ended, too."""
        self._tail += text
        start = self._tail.lstrip() if self._closing else self._tail
        if self._closing.startswith(start) and start != self._closing:
            return ""
        self.is_done = True
        parts.append(EndCall())
        return start.removeprefix(self._closing) if start.startswith(self._closing) else self._tail
