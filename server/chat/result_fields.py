"""Results as a field of the message with their calls, as Gemma 4's first template reads them. Pure.

That template has no form for the role `tool`, which it would render as a speaker that the model never met. It
writes what stands in `tool_responses` beside the calls, and the answer that follows in the same turn. A
result stays a text, as the later template has it, which reads the role itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from models.errors import RequestError
from server.chat.message_changes import Message, Messages

_RESULT, _SPEAKER = (str(10**19 + secrets.randbelow(9 * 10**19)) for _ in range(2))


def reads_result_fields(render: Callable[[Messages], str], source: str) -> bool:
    """Return True if a template shows results beside their calls, and `tool` as it shows any other role."""
    if "tool_responses" not in source:
        return False
    calls = [{"id": "c", "type": "function", "function": {"name": "look_up", "arguments": {"key": "a"}}}]
    asked: Messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": calls},
    ]
    result = {"role": "tool", "tool_call_id": "c", "name": "look_up", "content": _RESULT}
    try:
        spoken = render([*asked, {**result, "role": _SPEAKER}]).replace(_SPEAKER, "tool")
        return spoken == render([*asked, result]) and _RESULT in render(with_result_fields([*asked, result]))
    except RequestError:
        return False


def with_result_fields(messages: Messages) -> Messages:
    """Return the messages with results, and the answer behind them, in the message with their calls."""
    made: Messages = []
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        results: Messages = []
        while message.get("tool_calls") and place < len(messages) and messages[place]["role"] == "tool":
            results.append(messages[place])
            place += 1
        if results:
            message = {**message, "tool_responses": [_response(r, message["tool_calls"]) for r in results]}
            if place < len(messages) and not message.get("content") and _is_plain_answer(messages[place]):
                message["content"] = messages[place]["content"]
                place += 1
        made.append(message)
    return made


def _is_plain_answer(message: Message) -> bool:
    return message["role"] == "assistant" and not message.get("tool_calls") and bool(message.get("content"))


def _response(result: Message, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = {call.get("id"): call["function"]["name"] for call in calls}
    name = result.get("name") or names.get(result.get("tool_call_id"), calls[0]["function"]["name"])
    return {"name": name, "response": result.get("content")}
