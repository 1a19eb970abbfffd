"""`XmlCall`: reads one call whose arguments are elements with a name and plain text as value. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from server.chat.tool_formats.reading.argument_values import text_piece, types_of, value_text
from server.chat.tool_formats.reading.text_buffer import TextBuffer
from server.chat.tool_formats.tool_format import Arguments, BeginCall, Content, EndCall, Part
from server.chat.tools import Tool

_MAX_HEAD = 512
"""A head has at most so many characters: a longer one is no call's."""


@dataclass(frozen=True, slots=True)
class XmlMarks:
    """The texts around a call's name, its parameters' names and their values; white space is free there."""

    call: str = "<function="
    call_name_end: str = ">"
    """The text behind the call's name."""
    parameter: str = "<parameter="
    parameter_name_end: str = ">"
    """The text behind a parameter's name: the value follows."""
    value_end: str = "</parameter>"
    call_end: str = "</function>"
    newlines: bool = True
    """A newline right behind the head of a value, and one right in front of its end, belong to the marks."""


class _State(Enum):
    HEAD = auto()
    PARAMETERS = auto()
    NAME = auto()
    VALUE = auto()


class XmlCall:
    """A `CallReader`. Values become JSON by the types of the tool's schema; texts come out as they come."""

    def __init__(self, tools: Sequence[Tool], marks: XmlMarks) -> None:
        self.is_done = False
        self._tools = {tool.name: tool for tool in tools}
        self._marks = marks
        self._state = _State.HEAD
        self._buffer = TextBuffer()
        self._tool: Tool | None = None
        self._types: set[str | None] = set()
        self._names: set[str] = set()
        self._value = ""
        """The value so far; of a text, what is held back of it."""
        self._at_start = False
        self._skip = False
        """The parameter has come before: its first value counts."""

    def feed(self, text: str) -> tuple[list[Part], str]:
        """Return the parts that are certain, and the text behind the call."""
        self._buffer.feed(text)
        parts: list[Part] = []
        steps = {
            _State.HEAD: self._read_head,
            _State.PARAMETERS: self._read_parameters,
            _State.NAME: self._read_name,
            _State.VALUE: self._read_value,
        }
        while not self.is_done and steps[self._state](parts):
            pass
        return parts, self._buffer.take_all() if self.is_done else ""

    def end(self) -> list[Part]:
        """Return the rest of a call that was cut."""
        left = self._buffer.take_all()
        if self._state is _State.HEAD:
            return [Content(left)] if left else []
        if self._state is _State.VALUE and self._is_text and not self._skip:
            text = text_piece(self._value + left)
            return [Arguments(text)] if text else []
        return []

    @property
    def _is_text(self) -> bool:
        return self._types == {"string"}

    def _read_head(self, parts: list[Part]) -> bool:
        marks, text = self._marks, self._buffer.text
        if len(text) < len(marks.call) and marks.call.startswith(text):
            return False
        place = text.find(marks.call_name_end, len(marks.call)) if text.startswith(marks.call) else -1
        if text.startswith(marks.call) and place < 0 and len(text) <= _MAX_HEAD:
            return False
        self._tool = self._tools.get(text[len(marks.call) : place].strip()) if place >= 0 else None
        if self._tool is None:
            parts.append(Content(self._buffer.take(1)))
            self.is_done = True
            return False
        self._buffer.take(place + len(marks.call_name_end))
        parts.append(BeginCall(self._tool.name))
        self._state = _State.PARAMETERS
        return True

    def _read_parameters(self, parts: list[Part]) -> bool:
        self._buffer.text = text = self._buffer.text.lstrip()
        marks = [self._marks.parameter, self._marks.call_end]
        mark = next((mark for mark in marks if text.startswith(mark)), None)
        if mark is None:
            if not any(mark.startswith(text) for mark in marks):
                self.is_done = True  # a call that is broken: it has no end
            return False
        self._buffer.take(len(mark))
        if mark == self._marks.parameter:
            self._state = _State.NAME
            return True
        parts += [Arguments("}" if self._names else "{}"), EndCall()]
        self.is_done = True
        return False

    def _read_name(self, parts: list[Part]) -> bool:
        name, mark = self._buffer.take_until([self._marks.parameter_name_end])
        if mark is None:
            self._buffer.text = name + self._buffer.text
            return False
        assert self._tool is not None
        name = name.strip()
        schema = self._tool.parameters
        properties = schema.get("properties")
        of_name = properties.get(name) if isinstance(properties, dict) else None
        self._types = types_of(of_name, schema)
        self._skip = name in self._names
        if not self._skip:
            before = ", " if self._names else "{"
            self._names.add(name)
            quote = '"' if self._is_text else ""
            parts.append(Arguments(f"{before}{json.dumps(name, ensure_ascii=False)}: {quote}"))
        self._value, self._at_start = "", True
        self._state = _State.VALUE
        return True

    def _read_value(self, parts: list[Part]) -> bool:
        text, mark = self._buffer.take_until([self._marks.value_end])
        self._value += text
        if self._at_start and self._value:
            self._at_start = False
            if self._marks.newlines:
                self._value = self._value.removeprefix("\n")
        if mark is None:
            if self._is_text:
                held = "\n" if self._marks.newlines and self._value.endswith("\n") else ""
                self._hand_out(text_piece(self._value.removesuffix(held)), parts)
                self._value = held
            return False
        value = self._value.removesuffix("\n") if self._marks.newlines else self._value
        self._hand_out(f'{text_piece(value)}"' if self._is_text else value_text(value, self._types), parts)
        self._state = _State.PARAMETERS
        return True

    def _hand_out(self, text: str, parts: list[Part]) -> None:
        if text and not self._skip:
            parts.append(Arguments(text))
