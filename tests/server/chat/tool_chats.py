"""Chats with tools, calls and results, as clients send them."""

from __future__ import annotations

import json
from typing import Any

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city."}},
            "required": ["city"],
        },
    },
}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "How warm is it?"}


def call(number: int, city: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    return {"id": f"call_{number:020d}", "type": "function", "function": function}


def result(number: int, content: str) -> dict[str, Any]:
    return {
        "role": "tool",
        "tool_call_id": f"call_{number:020d}",
        "name": "get_weather",
        "content": content,
    }


def answer(content: str | None, *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


CHATS: dict[str, list[dict[str, Any]]] = {
    "tools": [USER],
    "system": [SYSTEM, USER],
    "call": [USER, answer(None, call(1, "Oslo")), result(1, "31 deg")],
    "two calls": [
        USER,
        answer("", call(1, "Oslo"), call(2, "Bern")),
        result(1, "31 deg"),
        result(2, "32 deg"),
    ],
    "content beside a call": [USER, answer("I look.", call(1, "Oslo")), result(1, "31 deg")],
    "thoughts": [USER, answer("", call(1, "Oslo"), reasoning_content="Hmm so."), result(1, "31 deg")],
    "a user after a result": [
        SYSTEM,
        USER,
        answer(None, call(1, "Oslo")),
        result(1, "31 deg"),
        {"role": "user", "content": "And in Bern?"},
    ],
}
