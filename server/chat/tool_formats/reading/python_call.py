"""`read_python_call`: reads a call in Python's notation and makes JSON of its arguments. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from server.chat.tool_formats.grammar.parameter_schema import Parameter, parameters_of, python_json
from server.chat.tool_formats.reading.answer_script import AnswerText, Steps
from server.chat.tools import Tool

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def read_python_call(text: AnswerText, tools: Mapping[str, Tool], raw: str) -> Steps[bool]:
    """Read `name(key=value, …)`; return False, with all of it and of `raw` handed out, if it is no call.

    `tools` are known by the names as they are written. Arguments without a name are the schema's properties
    in their order; of two with one name the first counts.
    """
    name, mark = yield from text.word(["("])
    tool = tools.get(name.strip())
    if mark is None or tool is None:
        text.add_content(raw + name + (mark or ""))
        return False
    text.begin_call(tool.name)
    parameters, names = parameters_of(tool), list[str]()
    while True:
        yield from text.skip(" \t\r\n,")
        if text.buffer.text.startswith(")"):
            text.buffer.take(1)
            text.add_arguments("}" if names else "{}")
            text.end_call()
            return True
        written, is_whole = yield from _expression(text)
        key, equals, value = written.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            if not is_whole:
                return True
            free = [each for each in parameters if each not in names]
            key, value = (free[0] if free else f"argument_{len(names)}"), written
        if key not in names:
            before = ", " if names else "{"
            names.append(key)
            found = _json_of(value.strip(), parameters.get(key))
            text.add_arguments(f"{before}{json.dumps(key, ensure_ascii=False)}: {found}")
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


def _json_of(written: str, parameter: Parameter | None) -> str:
    """Return a value as JSON; text without quotes is a string if one is wanted or nothing else fits."""
    found = python_json(written)
    if found is None:
        return json.dumps(written, ensure_ascii=False)
    if parameter is not None and parameter.is_string and not found.startswith('"'):
        return json.dumps(written, ensure_ascii=False)
    return found
