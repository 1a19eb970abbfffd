"""Anthropic's library against the real worker: tools, typed answers and counts, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.e2e.running import RunningServer
from tests.e2e.sdks.shapes import DESCRIPTIONS, PARAMETERS, QUESTION, TRIES, Trip, wrong

pytestmark = [pytest.mark.e2e, pytest.mark.model]

TOOLS: list[Any] = [
    {"name": name, "description": DESCRIPTIONS[name], "input_schema": schema}
    for name, schema in PARAMETERS.items()
]
ASKED: dict[str, Any] = {
    "model": "pico",
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 1500,
}
CHOICES: list[Any] = [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "write_note"}]


@pytest.fixture
def client(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120) as made:
        yield made


def checked(message: Any) -> list[str]:
    """Return the names of a message's calls, each of which is what its tool asks for and has its own id."""
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [wrong(call.name, json.dumps(call.input)) for call in calls] == [None] * len(calls)
    assert len({call.id for call in calls}) == len(calls)
    return [call.name for call in calls]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice["type"])
def test_calls(client: anthropic.Anthropic, choice: Any) -> None:
    for _ in TRIES:
        done = client.messages.create(**ASKED, tools=TOOLS, tool_choice=choice)
        names = checked(done)
        assert names
        assert done.stop_reason == "tool_use"
        if choice["type"] == "tool":
            assert set(names) == {"write_note"}


def test_one_call_and_none(client: anthropic.Anthropic) -> None:
    for _ in TRIES:
        alone: Any = {"type": "any", "disable_parallel_tool_use": True}
        assert len(checked(client.messages.create(**ASKED, tools=TOOLS, tool_choice=alone))) == 1
        none = client.messages.create(**ASKED, tools=TOOLS, tool_choice={"type": "none"})
        assert (checked(none), none.stop_reason) == ([], "end_turn")


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice["type"])
def test_calls_in_a_stream(client: anthropic.Anthropic, choice: Any) -> None:
    for _ in TRIES:
        with client.messages.stream(**ASKED, tools=TOOLS, tool_choice=choice) as stream:
            events: list[Any] = list(stream)
            final = stream.get_final_message()
        assert checked(final)
        assert final.stop_reason == "tool_use"
        pieces: dict[int, str] = {}
        for event in events:
            if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                pieces[event.index] = pieces.get(event.index, "") + event.delta.partial_json
        inputs = {at: block.input for at, block in enumerate(final.content) if block.type == "tool_use"}
        assert {at: json.loads(text) for at, text in pieces.items()} == inputs


def test_an_agents_loop_ends(client: anthropic.Anthropic) -> None:
    messages: list[Any] = list(ASKED["messages"])
    for _ in range(5):
        done = client.messages.create(**{**ASKED, "messages": messages}, tools=TOOLS)
        messages.append({"role": "assistant", "content": done.content})
        if not checked(done):
            break
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "rain"}
            for block in done.content
            if block.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})
    assert done.stop_reason == "end_turn"
    assert done.content[-1].type == "text"


def test_a_typed_answer(client: anthropic.Anthropic) -> None:
    for _ in TRIES:
        assert isinstance(client.messages.parse(**ASKED, output_format=Trip).parsed_output, Trip)
        with client.messages.stream(**ASKED, output_format=Trip) as stream:
            final = stream.get_final_message()
        assert isinstance(final.parsed_output, Trip)


@pytest.mark.parametrize("more", [{}, {"tools": TOOLS}, {"tools": TOOLS, "system": "Be short."}])
def test_counted_tokens_are_those_of_the_usage(client: anthropic.Anthropic, more: dict[str, Any]) -> None:
    asked = {name: ASKED[name] for name in ("model", "messages")}
    counted = client.messages.count_tokens(**asked, **more).input_tokens
    for _ in range(2):  # the second time the prompt is in the cache
        usage = client.messages.create(**ASKED, **more).usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        assert usage.input_tokens + cached == counted
    assert cached > 0
