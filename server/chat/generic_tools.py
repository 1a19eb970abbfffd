r"""Tools for models whose template knows none: the prompt teaches them a format in plain words. Pure.

The definitions stand at the end of the system text. Earlier calls are written as the model is to write them,
and the results of tools are a user's turn:

    Let me look.
    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call>

    <tool_response>
    31 degrees
    </tool_response>

`tool_formats/formats/generic.py` reads the calls of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from server.chat.message_changes import SYSTEM_ROLES, Message, Messages

_INTRODUCTION = (
    "You can call these functions. Each line defines one as JSON:\n"
    "<tools>\n{definitions}\n</tools>\n\n"
    "To call a function, write a JSON object with its name and its arguments between these marks:\n"
    '<tool_call>\n{{"name": "NAME", "arguments": {{"PARAMETER": "VALUE"}}}}\n</tool_call>\n'
    "Its result comes in the next message, between <tool_response> and </tool_response>."
)


def with_generic_tools(messages: Messages, tools: list[dict[str, Any]]) -> Messages:
    """Return the chat without tool calls and tool messages: all of them are text."""
    plain: Messages = []
    for is_result, run in groupby(messages, key=lambda message: message["role"] == "tool"):
        if is_result:
            results = "\n".join(f"<tool_response>\n{m.get('content') or ''}\n</tool_response>" for m in run)
            plain.append({"role": "user", "content": results})
        else:
            plain += [_with_written_calls(message) for message in run]
    return with_system_text(plain, introduction(tools)) if tools else plain


def introduction(tools: list[dict[str, Any]]) -> str:
    """Return the words that teach the format, with the tools' definitions."""
    return _INTRODUCTION.format(definitions="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))


def with_system_text(messages: Messages, text: str) -> Messages:
    """Return the messages with a text at the end of the system message that begins them, or in a new one."""
    if messages and messages[0]["role"] in SYSTEM_ROLES:
        first = messages[0]
        words = [words for words in (first.get("content"), text) if words]
        return [{**first, "content": "\n\n".join(words)}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def with_calls_in_content(messages: Messages, write: Callable[[Sequence[tuple[str, str]]], str]) -> Messages:
    """Return the chat with its calls behind the contents, as `write` writes them; results stay."""
    return [_with_calls_written(message, write) for message in messages]


def _with_calls_written(message: Message, write: Callable[[Sequence[tuple[str, str]]], str]) -> Message:
    calls = message.get("tool_calls")
    if not calls:
        return message
    written = write([(call["function"]["name"], _arguments(call)) for call in calls])
    rest = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**rest, "content": f"{message.get('content') or ''}{written}"}


def _with_written_calls(message: Message) -> Message:
    """Return an assistant's message with its calls in its content."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    rest = {name: value for name, value in message.items() if name != "tool_calls"}
    return {
        **rest,
        "content": "\n".join([*filter(None, [message.get("content")]), *map(written_call, calls)]),
    }


def written_call(call: dict[str, Any]) -> str:
    """Return a call as text; `arguments` are JSON text already, and stay as they are."""
    name = json.dumps(call["function"]["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {_arguments(call)}}}\n</tool_call>'


def _arguments(call: dict[str, Any]) -> str:
    """Return a call's arguments as JSON text."""
    arguments = call["function"]["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return arguments or "{}"
