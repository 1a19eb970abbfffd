"""`JsonCall`: reads one call that is a JSON object with a name and arguments, while it comes. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import Enum, auto

from server.chat.tool_formats.reading.json_value import JsonValue
from server.chat.tool_formats.tool_format import Arguments, BeginCall, Content, EndCall, Part


class _State(Enum):
    BEFORE = auto()
    KEY = auto()
    """Between two members."""
    COLON = auto()
    VALUE = auto()
    DONE = auto()


class JsonCall:
    """Reads `{"name": …, "arguments": {…}}`, with its members in any order and under any of the given keys.

    A call begins once its name is known to be a tool's; arguments that came before it are kept until then. An
    object that turns out to be no call is handed out as content, as it came.
    """

    def __init__(
        self,
        names: Collection[str],
        *,
        name_keys: Collection[str] = ("name",),
        argument_keys: Collection[str] = ("arguments", "parameters"),
        id_keys: Collection[str] = ("id",),
    ) -> None:
        self.is_done = False
        """True once the object has ended, or is known to be no call: the rest of the text isn't its."""
        self._names = names
        self._name_keys, self._argument_keys, self._id_keys = name_keys, argument_keys, id_keys
        self._state = _State.BEFORE
        self._raw = ""
        """All text so far, as long as no call has begun."""
        self._key = ""
        self._token = ""
        self._value: JsonValue | None = None
        self._value_text = ""
        self._name: str | None = None
        self._id: str | None = None
        self._arguments = ""
        """Arguments that came before the name."""
        self._begun = False
        self._has_arguments = False
        self._arguments_ended = False
        """The arguments have come: others, under another key, don't count."""

    def feed(self, text: str) -> tuple[list[Part], str]:
        """Return the parts that are certain, and the text behind the object."""
        parts: list[Part] = []
        place = 0
        while place < len(text) and not self.is_done:
            place = self._step(text, place, parts)
        if self.is_done and not self._begun:
            return self.end(), text[place:]
        return parts, text[place:]

    def end(self) -> list[Part]:
        """Return the rest of a call that was cut."""
        if self._begun or not self._raw:
            return []
        raw, self._raw = self._raw, ""
        return [Content(raw)]

    def _step(self, text: str, place: int, parts: list[Part]) -> int:
        """Read from `place`; return the place up to which it was read."""
        if self._state is _State.VALUE:
            return self._read_value(text, place, parts)
        char = text[place]
        if not self._begun:
            self._raw += char
        if self._state is _State.KEY and self._token:
            self._read_key(char)
        elif char.isspace() or (self._state is _State.KEY and char == ","):
            pass
        elif self._state is _State.BEFORE and char == "{":
            self._state = _State.KEY
        elif self._state is _State.KEY and char == '"':
            self._token = char
        elif self._state is _State.KEY and char == "}":
            self._finish(parts)
        elif self._state is _State.COLON and char == ":":
            self._state = _State.VALUE
            self._value, self._value_text = JsonValue(), ""
        else:
            self.is_done = True
        return place + 1

    def _read_key(self, char: str) -> None:
        self._token += char
        if char == '"' and not _is_escaped(self._token):
            key = _decoded(self._token)
            self._key = key if isinstance(key, str) else ""
            self._token = ""
            self._state = _State.COLON

    def _read_value(self, text: str, place: int, parts: list[Part]) -> int:
        assert self._value is not None
        end = self._value.feed(text, place)
        piece = text[place:] if end is None else text[place:end]
        if not self._begun:
            self._raw += piece
        if self._key in self._argument_keys and self._value.is_object and not self._arguments_ended:
            self._add_arguments(piece, parts)
        else:
            self._value_text += piece
        if self._value.is_wrong:
            self.is_done = True
        elif end is not None:
            self._end_value(parts)
            self._state = _State.KEY
        return len(text) if end is None else end

    def _add_arguments(self, piece: str, parts: list[Part]) -> None:
        if not self._has_arguments:
            piece = piece.lstrip()
            self._has_arguments = bool(piece)
        if self._begun:
            if piece:
                parts.append(Arguments(piece))
        else:
            self._arguments += piece

    def _end_value(self, parts: list[Part]) -> None:
        value: object = _decoded(self._value_text)
        is_argument = self._key in self._argument_keys and not self._arguments_ended
        if self._key in self._name_keys and isinstance(value, str):
            self._name = value
            if value in self._names:
                self._begin(parts)
            else:
                self.is_done = True
        elif self._key in self._id_keys and isinstance(value, str):
            self._id = value
        elif is_argument and isinstance(value, str) and value.strip():
            self._add_arguments(value, parts)  # written as a string of JSON
        self._arguments_ended = self._arguments_ended or (is_argument and self._has_arguments)

    def _begin(self, parts: list[Part]) -> None:
        assert self._name is not None
        self._begun, self._raw = True, ""
        parts.append(BeginCall(self._name, self._id))
        if self._arguments:
            parts.append(Arguments(self._arguments))

    def _finish(self, parts: list[Part]) -> None:
        self.is_done = True
        if self._begun:
            if not self._has_arguments:
                parts.append(Arguments("{}"))
            parts.append(EndCall())


def _is_escaped(token: str) -> bool:
    """Return True if the last character of `token` stands behind an odd number of backslashes."""
    before = token[:-1]
    return len(token) == 1 or (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _decoded(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return None
