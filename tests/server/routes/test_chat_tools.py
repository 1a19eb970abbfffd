"""Tools, thoughts and the legacy functions, over the real app: what goes down to the worker and comes up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.chat.tool_definitions import NO_PARAMETERS
from server.chat.tools import Tool, ToolChoice
from server.engine.events import AnswerForm
from tests.server.http_client import CHAT, client_for, events_of
from tests.server.scripted_answers import (
    HERMES,
    HERMES_THINKING,
    THINKING,
    answers,
    call,
    chat_of,
)
from tests.server.scripted_service import Script, ScriptedService

WEATHER: dict[str, Any] = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CLOCK = {"name": "clock"}
TOOLS: Any = [{"type": "function", "function": WEATHER}, {"type": "function", "function": CLOCK}]
TWO_CALLS = f"I look.\n{call('weather', {'city': 'Zürich'})}\n{call('clock', {})}"


async def post(script: Script, **fields: Any) -> tuple[dict[str, Any], ScriptedService]:
    service = ScriptedService(script)
    async with client_for(service) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, **fields})
    assert response.status_code == 200, response.text
    return response.json(), service


async def stream(script: Script, **fields: Any) -> list[dict[str, Any]]:
    """The chunks' choices, in order; the stream ends as it should."""
    service = ScriptedService(script)
    async with client_for(service) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True, **fields})
    *chunks, done = events_of(response.text)
    assert done == "[DONE]"
    return [choice for chunk in chunks for choice in chunk["choices"]]


def joined(choices: list[dict[str, Any]], index: int = 0) -> dict[str, Any]:
    """One choice of a stream as a client adds it up."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    for choice in choices:
        if choice["index"] != index:
            continue
        delta = choice["delta"]
        for name in ("content", "reasoning_content"):
            message[name] += delta.get(name, "")
        assert len(delta.get("tool_calls", [])) <= 1
        for piece in delta.get("tool_calls", []):
            if "id" in piece:
                assert piece["index"] == len(message["calls"])
                assert piece["function"]["arguments"] == ""
                message["calls"].append([piece["function"]["name"], ""])
            else:
                assert piece.keys() == {"index", "function"}
                assert piece["function"].keys() == {"arguments"}
                message["calls"][piece["index"]][1] += piece["function"]["arguments"]
        message["finish_reason"] = choice["finish_reason"]
    return message


async def test_a_whole_answer_with_two_calls() -> None:
    body, service = await post(answers(TWO_CALLS), tools=TOOLS)
    (choice,) = body["choices"]
    message = choice["message"]
    first, second = message["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert message["content"] == "I look."
    assert first.keys() == {"id", "type", "function"}
    assert (first["type"], first["function"]["name"]) == ("function", "weather")
    assert json.loads(first["function"]["arguments"]) == {"city": "Zürich"}
    assert second["function"] == {"name": "clock", "arguments": "{}"}
    assert first["id"] != second["id"]
    prompt = chat_of(service.request)
    assert prompt.tools == (
        Tool(name="weather", parameters=WEATHER["parameters"]),
        Tool(name="clock", parameters=NO_PARAMETERS),
    )
    assert prompt.tool_choice == ToolChoice()


async def test_an_answer_of_calls_alone_has_no_content() -> None:
    body, _ = await post(answers(call("clock", {})), tools=TOOLS)
    message = body["choices"][0]["message"]
    assert message["content"] is None
    assert "reasoning_content" not in message
    plain, _ = await post(answers("Hi"), tools=TOOLS)
    assert plain["choices"][0]["message"] == {"role": "assistant", "content": "Hi", "refusal": None}
    assert plain["choices"][0]["finish_reason"] == "stop"


async def test_ids_never_repeat() -> None:
    ids = set()
    for _ in range(3):
        body, _ = await post(answers(TWO_CALLS), tools=TOOLS, n=2)
        ids |= {each["id"] for choice in body["choices"] for each in choice["message"]["tool_calls"]}
    assert len(ids) == 12


async def test_the_golden_stream_of_a_call() -> None:
    choices = await stream(answers(call("weather", {"city": "Rome"}), size=8), tools=TOOLS)
    deltas = [choice["delta"] for choice in choices]
    call_id = deltas[1]["tool_calls"][0]["id"]
    assert call_id.startswith("call_")
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[1] == {
        "tool_calls": [
            {
                "index": 0,
                "id": call_id,
                "type": "function",
                "function": {"name": "weather", "arguments": ""},
            }
        ]
    }
    assert "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas[2:-1]) == (
        '{"city": "Rome"}'
    )
    assert len(deltas) > 4
    assert (deltas[-1], choices[-1]["finish_reason"]) == ({}, "tool_calls")


@pytest.mark.parametrize("size", [1, 2, 5, [3, 1, 30], 1000])
@pytest.mark.parametrize("n", [1, 3])
async def test_a_stream_adds_up_to_the_whole_answer(size: Any, n: int) -> None:
    text = f"<think>\nHm.\n</think>\n\n{TWO_CALLS}"
    script = answers(text, HERMES_THINKING, size=size)
    choices = await stream(script, tools=TOOLS, n=n)
    whole, _ = await post(script, tools=TOOLS, n=n)
    for index in range(n):
        message = whole["choices"][index]["message"]
        calls = [[each["function"]["name"], each["function"]["arguments"]] for each in message["tool_calls"]]
        assert joined(choices, index) == {
            "content": message["content"],
            "reasoning_content": message["reasoning_content"],
            "calls": calls,
            "finish_reason": "tool_calls",
        }
        assert message["reasoning_content"] == "Hm."
        assert [name for name, _ in calls] == ["weather", "clock"]


async def test_a_call_that_the_token_limit_cuts_ends_with_length() -> None:
    text = call("weather", {"city": "Rome"})[:50]
    body, _ = await post(answers(text, reason="length"), tools=TOOLS)
    choice = body["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"].startswith('{"ci')
    assert (await stream(answers(text, reason="length"), tools=TOOLS))[-1]["finish_reason"] == "length"


async def test_what_calls_no_tool_is_content() -> None:
    text = call("unknown", {"x": 1})
    body, _ = await post(answers(text), tools=TOOLS)
    message = body["choices"][0]["message"]
    assert '{"name": "unknown", "arguments": {"x": 1}}' in message["content"]
    assert "tool_calls" not in message
    without, service = await post(answers(call("clock", {})), tools=TOOLS, tool_choice="none")
    assert "tool_calls" not in without["choices"][0]["message"]
    assert chat_of(service.request).tool_choice.mode == "none"


async def test_logprobs_and_tokens_of_every_token_are_told() -> None:
    text = f"<think>Hm.</think>{TWO_CALLS}"
    script = answers(text, HERMES_THINKING, size=2)
    fields = {"tools": TOOLS, "logprobs": True, "return_tokens": True}
    n_pieces = -(-len(text) // 2)
    whole, _ = await post(script, **fields)
    chunks = await stream(script, **fields)
    told = [entry for chunk in chunks if chunk["logprobs"] for entry in chunk["logprobs"]["content"]]
    assert len(told) == n_pieces
    assert told == whole["choices"][0]["logprobs"]["content"]
    tokens = [token for chunk in chunks for token in chunk.get("tokens", [])]
    assert tokens == whole["choices"][0]["tokens"] == [100 + i for i in range(n_pieces)]
    assert joined(chunks)["calls"][1] == ["clock", "{}"]


# --- legacy functions ---------------------------------------------------------------------------------------


async def test_legacy_functions() -> None:
    fields = {"functions": [WEATHER, CLOCK], "function_call": {"name": "weather"}}
    script = answers(call("weather", {"city": "Rome"}))
    body, service = await post(script, **fields)
    choice = body["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "function_call": {"name": "weather", "arguments": '{"city": "Rome"}'},
    }
    expected = ToolChoice(mode="required", names=("weather",), parallel=False)
    assert chat_of(service.request).tool_choice == expected
    chunks = await stream(script, **fields)
    pieces = [chunk["delta"]["function_call"] for chunk in chunks[1:-1]]
    assert pieces[0] == {"name": "weather", "arguments": ""}
    assert all(piece.keys() == {"arguments"} for piece in pieces[1:])
    assert "".join(piece["arguments"] for piece in pieces) == '{"city": "Rome"}'
    assert chunks[-1]["finish_reason"] == "function_call"


async def test_a_legacy_answer_has_one_call_whatever_the_model_writes() -> None:
    choices = await stream(answers(TWO_CALLS), functions=[WEATHER, CLOCK])
    calls = [choice["delta"]["function_call"] for choice in choices if "function_call" in choice["delta"]]
    assert [call["name"] for call in calls if "name" in call] == ["weather"]
    assert json.loads("".join(call["arguments"] for call in calls)) == {"city": "Zürich"}


# --- thoughts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "content", "thoughts"),
    [
        ({}, "Yes.", {"reasoning_content": "Hm, hm."}),
        ({"reasoning_format": "auto"}, "Yes.", {"reasoning_content": "Hm, hm."}),
        ({"reasoning_format": "deepseek"}, "Yes.", {"reasoning_content": "Hm, hm."}),
        ({"reasoning_format": "none"}, "<think>\nHm, hm.\n</think>\n\nYes.", {}),
        (
            {"reasoning_format": "deepseek-legacy"},
            "<think>\nHm, hm.\n</think>\n\nYes.",
            {"reasoning_content": "Hm, hm."},
        ),
        ({"include_reasoning": True}, "Yes.", {"reasoning_content": "Hm, hm.", "reasoning": "Hm, hm."}),
        ({"reasoning": {}}, "Yes.", {"reasoning_content": "Hm, hm.", "reasoning": "Hm, hm."}),
        ({"include_reasoning": False}, "Yes.", {}),
        ({"reasoning": {"exclude": True}}, "Yes.", {}),
        ({"reasoning_format": "hidden"}, "Yes.", {}),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
async def test_where_thoughts_are_shown(
    fields: dict[str, Any], content: str, thoughts: dict[str, str], begun: bool
) -> None:
    text = "Hm, hm.\n</think>\n\nYes."
    form = THINKING if begun else AnswerForm(thoughts=("<think>", "</think>"))
    script = answers(text if begun else f"<think>\n{text}", form, reasoning_tokens=4)
    body, _ = await post(script, **fields)
    message = body["choices"][0]["message"]
    assert message == {"role": "assistant", "content": content, "refusal": None, **thoughts}
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
    chunks = await stream(script, **fields)
    for name in ("reasoning_content", "reasoning"):
        told = "".join(chunk["delta"].get(name, "") for chunk in chunks)
        assert told == thoughts.get(name, "")
    assert joined(chunks)["content"] == content


@pytest.mark.parametrize("reason", ["length", "stop"])
async def test_thoughts_that_never_end(reason: Any) -> None:
    script = answers("Hm, hm.", THINKING, reason=reason)
    body, _ = await post(script)
    assert body["choices"][0]["message"]["reasoning_content"] == "Hm, hm."
    assert body["choices"][0]["message"]["content"] == ""
    shown, _ = await post(script, reasoning_format="none")
    closing = "" if reason == "length" else "\n</think>"
    assert shown["choices"][0]["message"]["content"] == f"<think>\nHm, hm.{closing}"


async def test_two_choices_think_side_by_side() -> None:
    body, _ = await post(answers("Hm.</think>Yes.", THINKING), n=2, reasoning_format="none")
    assert [choice["message"]["content"] for choice in body["choices"]] == [
        "<think>\nHm.\n</think>\n\nYes."
    ] * 2


async def test_a_marks_text_without_a_form_is_content() -> None:
    body, _ = await post(answers("<think>a</think>b", None), tools=TOOLS)
    assert body["choices"][0]["message"]["content"] == "<think>a</think>b"


async def test_large_bodies_keep_their_tools() -> None:
    service = ScriptedService(answers(call("clock", {}), HERMES))
    messages = [{"role": "user", "content": "x" * 100_000}]
    async with client_for(service) as client:
        response = await client.post(
            "/v1/chat/completions", json={"model": "demo", "messages": messages, "tools": TOOLS}
        )
    assert response.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "clock"
    assert chat_of(service.request).tools[1] == Tool(name="clock", parameters=NO_PARAMETERS)
