"""Malformed calls are found in the answers of each protocol, and only they."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients.calls import calls_of, malformed
from tests.clients.traffic import Exchange, Message

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
GOOD, BAD, BROKEN = '{"city": "Rome"}', '{"city": 5}', '{"city": "Ro'


def exchange(path: str, tool: dict[str, Any], events: list[dict[str, Any]]) -> Exchange:
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    request = Message(f"POST {path} HTTP/1.1", {}, json.dumps({"tools": [tool]}).encode())
    return Exchange(request, Message("HTTP/1.1 200 OK", {}, body))


def chat(name: str, arguments: str, end: str = "tool_calls") -> Exchange:
    pieces = [{"index": 0, "id": "c", "function": {"name": name, "arguments": ""}}]
    pieces += [{"index": 0, "function": {"arguments": letter}} for letter in arguments]
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"tool_calls": [piece]}}]} for piece in pieces]
    events.append({"choices": [{"delta": {}, "finish_reason": end}]})
    function = {"name": "weather", "parameters": SCHEMA}
    return exchange("/v1/chat/completions", {"type": "function", "function": function}, events)


def messages(name: str, arguments: str, end: str = "tool_use") -> Exchange:
    events: list[dict[str, Any]] = [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "c", "name": name},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": arguments},
        },
        {"type": "message_delta", "delta": {"stop_reason": end}},
    ]
    return exchange("/v1/messages", {"name": "weather", "input_schema": SCHEMA}, events)


def responses(name: str, arguments: str, end: str = "completed") -> Exchange:
    status = "completed" if end == "completed" else "incomplete"
    item = {"type": "function_call", "call_id": "c", "name": name, "arguments": arguments, "status": status}
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA}
    return exchange("/v1/responses", tool, [{"type": "response.output_item.done", "item": item}])


def ollama(name: str, arguments: str, _end: str = "stop") -> Exchange:
    call = {"id": "c", "function": {"index": 0, "name": name, "arguments": json.loads(arguments)}}
    function = {"name": "weather", "parameters": SCHEMA}
    made = exchange("/api/chat", {"type": "function", "function": function}, [])
    lines = [{"message": {"role": "assistant", "content": "", "tool_calls": [call]}}, {"done": True}]
    body = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    made.answer = Message("HTTP/1.1 200 OK", {"content-type": "application/x-ndjson"}, body)
    return made


def test_calls_of_ollamas_chats() -> None:
    assert [call.arguments for call in calls_of(ollama("weather", GOOD))] == [GOOD]
    assert malformed([ollama("weather", GOOD)]) == []
    for name, arguments in (("weather", BAD), ("other", GOOD)):
        assert len(malformed([ollama(name, arguments)])) == 1


@pytest.mark.parametrize("protocol", [chat, messages, responses])
def test_malformed_calls(protocol: Any) -> None:
    assert [call.arguments for call in calls_of(protocol("weather", GOOD))] == [GOOD]
    assert malformed([protocol("weather", GOOD)]) == []
    for name, arguments in (("weather", BAD), ("weather", BROKEN), ("other", GOOD)):
        assert len(malformed([protocol(name, arguments)])) == 1
    cut = {"chat": "length", "messages": "max_tokens", "responses": "max_output_tokens"}[protocol.__name__]
    assert malformed([protocol("weather", BROKEN, cut)]) == []


@pytest.mark.parametrize("protocol", [chat, messages, responses])
def test_an_id_that_came_before(protocol: Any) -> None:
    assert malformed([protocol("weather", GOOD), protocol("weather", GOOD)]) == [
        "weather has no id of its own: 'c'"
    ]
