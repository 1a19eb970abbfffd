"""`PythonCall`: reads one call that is written as in Python, with keyword arguments. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from server.chat.tool_formats.reading.argument_values import literal, types_of, value_text
from server.chat.tool_formats.tool_format import Arguments, BeginCall, Content, EndCall, Part
from server.chat.tools import Tool

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_MAX_HEAD = 512
"""A head has at most so many characters: a longer one is no call's."""


class PythonCall:
    """A `CallReader` of `name(key="text", other=[1, 2])`; each argument comes out once it is whole.

    Arguments without a name are the schema's properties in their order. `suffix` stands between a tool's name
    and the parenthesis, such as `.call`.
    """

    def __init__(self, tools: Sequence[Tool], *, suffix: str = "") -> None:
        self.is_done = False
        self._tools = {tool.name + suffix: tool for tool in tools}
        self._tool: Tool | None = None
        self._head = ""
        self._value = ""
        self._open: list[str] = []
        self._quote = ""
        self._escaped = False
        self._names: list[str] = []

    def feed(self, text: str) -> tuple[list[Part], str]:
        """Return the parts that are certain, and the text behind the call."""
        parts: list[Part] = []
        for place, char in enumerate(text):
            if self._tool is None:
                self._head += char
                if char == "(":
                    self._tool = self._tools.get(self._head[:-1].strip())
                    if self._tool is not None:
                        parts.append(BeginCall(self._tool.name))
                        continue
                if self._is_no_head():
                    self.is_done = True
                    return [Content(self._head[:1])], self._head[1:] + text[place + 1 :]
            else:
                self._read(char, parts)
                if self.is_done:
                    return parts, text[place + 1 :]
        return parts, ""

    def end(self) -> list[Part]:
        """Return the rest of a call that was cut."""
        return [Content(self._head)] if self._tool is None and self._head else []

    def _is_no_head(self) -> bool:
        name = self._head.strip()
        return len(self._head) > _MAX_HEAD or not any(known.startswith(name) for known in self._tools)

    def _read(self, char: str, parts: list[Part]) -> None:
        if self._quote:
            self._read_text(char)
        elif char in "\"'":
            self._quote = char
            self._value += char
        elif not self._open and char in ",)":
            self._end_argument(parts)
            if char == ")":
                parts += [Arguments("}" if self._names else "{}"), EndCall()]
                self.is_done = True
        else:
            if char in _CLOSING:
                self._open.append(_CLOSING[char])
            elif self._open and char == self._open[-1]:
                self._open.pop()
            self._value += char

    def _read_text(self, char: str) -> None:
        self._value += char
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == self._quote:
            self._quote = ""

    def _end_argument(self, parts: list[Part]) -> None:
        written, self._value = self._value.strip(), ""
        if not written:
            return
        assert self._tool is not None
        schema = self._tool.parameters
        properties = schema.get("properties")
        known = dict(properties) if isinstance(properties, dict) else {}
        name, equals, value = written.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            free = [each for each in known if each not in self._names]
            name, value = (free[0] if free else f"argument_{len(self._names)}"), written
        if name in self._names:
            return
        before = ", " if self._names else "{"
        self._names.append(name)
        key = json.dumps(name, ensure_ascii=False)
        parts.append(Arguments(f"{before}{key}: {self._json(value, known.get(name))}"))

    def _json(self, written: str, schema: object) -> str:
        assert self._tool is not None
        text = written.strip()
        value = literal(text)
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        return value_text(text, types_of(schema, self._tool.parameters))
