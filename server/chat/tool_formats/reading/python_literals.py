"""`read_python_call`: reads a call in Python's notation and makes JSON of its arguments. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection

from server.chat.tool_formats.grammar.parameter_schema import python_json
from server.chat.tool_formats.reading.answer_script import AnswerText, Steps

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def read_python_call(text: AnswerText, names: Collection[str], raw: str) -> Steps[bool]:
    """Read `name(key=value, …)`; return False, with all of it and of `raw` handed out, if it is no call."""
    name, mark = yield from text.word(["("])
    if mark is None or name.strip() not in names:
        text.add_content(raw + name + (mark or ""))
        return False
    text.begin_call(name.strip())
    n_read = 0
    while True:
        yield from text.skip(" \t\r\n,")
        if text.buffer.text.startswith(")"):
            text.buffer.take(1)
            text.add_arguments("}" if n_read else "{}")
            text.end_call()
            return True
        key, mark = yield from text.word(["="])
        if mark is None:
            return True
        text.add_arguments(("{" if not n_read else ", ") + json.dumps(key.strip(), ensure_ascii=False) + ": ")
        n_read += 1
        value, is_whole = yield from _expression(text)
        text.add_arguments(_json_of(value))
        if not is_whole:
            return True


def _expression(text: AnswerText) -> Steps[tuple[str, bool]]:
    """Return the text up to the comma or the bracket that ends an expression; True: it has ended."""
    taken, opened, quote, escaped = "", [], "", False
    while True:
        for place, char in enumerate(text.buffer.text):
            if quote:
                if escaped:
                    escaped = False
                elif char == "\\":
                    escaped = True
                elif char == quote:
                    quote = ""
            elif char in "'\"":
                quote = char
            elif char in _CLOSING:
                opened.append(_CLOSING[char])
            elif opened and char == opened[-1]:
                opened.pop()
            elif not opened and char in ",)":
                return taken + text.buffer.take(place), True
        taken += text.buffer.take_all()
        if text.is_ended:
            return taken, False
        yield


def _json_of(value: str) -> str:
    found = python_json(value)
    return json.dumps(value.strip(), ensure_ascii=False) if found is None else found
