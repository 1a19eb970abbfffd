"""`Sample`: a raw answer and what it is read as; the tools that samples call; an answer's parts joined."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from server.chat.tool_formats.tool_format import (
    Arguments,
    BeginCall,
    Content,
    EndCall,
    Part,
    PartReader,
    Thought,
)
from server.chat.tools import Tool

WEATHER = Tool(
    name="get_weather",
    description="The weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)
RUN = Tool(
    name="run",
    description="Run code",
    parameters={
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "options": {
                "type": "object",
                "properties": {"dry": {"type": "boolean"}, "tags": {"type": "array"}},
            },
            "fast": {"type": "boolean"},
            "level": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        "required": ["code"],
    },
)
NOW = Tool(name="now", description="The time", parameters={"type": "object", "properties": {}})
TOOLS = (WEATHER, RUN, NOW)
CODE = 'print("Grüße, 世界 👋", {"a": [1, 2]})\n\tif x < 3:\n\t\tpass \\n\n'
"""A text with quotes, brackets, newlines, a backslash, and characters of one to four bytes."""


@dataclass(frozen=True)
class Call:
    """A call as a sample has it. One that was cut hasn't ended: it has its arguments' text so far."""

    name: str
    arguments: dict[str, Any] | str
    ended: bool = True


@dataclass(frozen=True)
class Sample:
    """A raw answer, and its parts."""

    raw: str
    content: str = ""
    calls: tuple[Call, ...] = ()
    thoughts: str = ""
    marks: tuple[str, str] | None = None
    """The marks around thoughts that the template has."""
    thinks: bool = False


def joined(parts: Iterable[Part]) -> tuple[str, str, list[Call]]:
    """Return content, thoughts and calls. Calls follow one another, each begun before its arguments."""
    content, thoughts, calls = "", "", []
    name: str | None = None
    arguments = ""
    for part in parts:
        match part:
            case Content():
                content += part.text
            case Thought():
                thoughts += part.text
            case BeginCall():
                if name is not None:
                    calls.append(Call(name, arguments, ended=False))
                name, arguments = part.name, ""
            case Arguments():
                assert name is not None
                arguments += part.text
            case EndCall():
                assert name is not None
                calls.append(Call(name, json.loads(arguments)))
                name = None
    if name is not None:
        calls.append(Call(name, arguments, ended=False))
    return content, thoughts, calls


def read(reader: PartReader, text: str, step: int | None = None) -> tuple[str, str, list[Call]]:
    """Return what a reader makes of a text that is fed `step` characters at a time; None: whole."""
    step = step or len(text) or 1
    parts: list[Part] = []
    for start in range(0, len(text), step):
        parts += reader.feed(text[start : start + step])
    return joined([*parts, *reader.end()])
