"""OpenAI's library against the real worker: tools, typed answers and Responses, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

import openai
import pytest

from tests.clients.chat_template import N_RESULTS
from tests.e2e.running import RunningServer
from tests.e2e.sdks.shapes import DESCRIPTIONS, PARAMETERS, QUESTION, TRIES, ShortTrip, wrong

pytestmark = [pytest.mark.e2e, pytest.mark.model]

MODEL = "pico"
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 1500,
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": name, "description": DESCRIPTIONS[name], "parameters": schema, "strict": True},
    }
    for name, schema in PARAMETERS.items()
]
RESPONSES_TOOLS: list[Any] = [{"type": "function", **tool["function"]} for tool in TOOLS]
RESPONSES_ASKED: dict[str, Any] = {"model": MODEL, "input": QUESTION, "max_output_tokens": 1500}
NAMED: dict[str, Any] = {"type": "function", "function": {"name": "write_note"}}


def checked(calls: Iterable[Any] | None) -> list[str]:
    """Return the names of a chat's calls, each of which is what its tool asks for and has its own id."""
    seen = list(calls or [])
    assert [wrong(call.function.name, call.function.arguments) for call in seen] == [None] * len(seen)
    assert len({call.id for call in seen}) == len(seen)
    return [call.function.name for call in seen]


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with server.client as made:
        yield made


@pytest.mark.parametrize("choice", ["auto", "required", NAMED], ids=["auto", "required", "named"])
def test_calls(client: openai.OpenAI, choice: Any) -> None:
    for seed in TRIES:
        done = client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice=choice, seed=seed)
        names = checked(done.choices[0].message.tool_calls)
        assert names
        assert done.choices[0].finish_reason == "tool_calls"
        if choice is NAMED:
            assert set(names) == {"write_note"}


def test_one_call_and_none(client: openai.OpenAI) -> None:
    for seed in TRIES:
        one = client.chat.completions.create(
            **ASKED, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=seed
        )
        assert len(checked(one.choices[0].message.tool_calls)) == 1
        none = client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="none", seed=seed)
        assert none.choices[0].message.tool_calls is None
        assert none.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("choice", ["auto", "required", NAMED], ids=["auto", "required", "named"])
def test_calls_in_a_stream(client: openai.OpenAI, choice: Any) -> None:
    for seed in TRIES:
        with client.chat.completions.stream(**ASKED, tools=TOOLS, tool_choice=choice, seed=seed) as stream:
            events: list[Any] = list(stream)
            message = stream.get_final_completion().choices[0].message
        assert checked(message.tool_calls)
        deltas: dict[int, str] = {}
        for event in events:
            if event.type == "tool_calls.function.arguments.delta":
                deltas[event.index] = deltas.get(event.index, "") + event.arguments_delta
        assert list(deltas.values()) == [call.function.arguments for call in message.tool_calls or []]


def test_an_agents_loop_ends(client: openai.OpenAI) -> None:
    messages: list[Any] = list(ASKED["messages"])
    for _ in range(5):
        done = client.chat.completions.create(**{**ASKED, "messages": messages}, tools=TOOLS)
        answer = done.choices[0].message
        if not checked(answer.tool_calls):
            break
        messages.append(answer)
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in answer.tool_calls or []
        ]
    assert done.choices[0].finish_reason == "stop"
    assert answer.content
    assert sum(isinstance(one, dict) and one["role"] == "tool" for one in messages) >= N_RESULTS


def test_a_typed_answer(client: openai.OpenAI) -> None:
    for seed in TRIES:
        done = client.chat.completions.parse(**ASKED, response_format=ShortTrip, seed=seed)
        assert isinstance(done.choices[0].message.parsed, ShortTrip)
        with client.chat.completions.stream(**ASKED, response_format=ShortTrip, seed=seed) as stream:
            final = stream.get_final_completion().choices[0].message
        assert isinstance(final.parsed, ShortTrip)
        assert final.content == done.choices[0].message.content


def test_a_typed_tool(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(ShortTrip)
    for seed in TRIES:
        done = client.chat.completions.parse(**ASKED, tools=[tool], tool_choice="required", seed=seed)
        calls = done.choices[0].message.tool_calls or []
        assert [type(call.function.parsed_arguments) for call in calls] == [ShortTrip] * len(calls)
        assert calls


@pytest.mark.parametrize(
    "choice",
    ["auto", "required", {"type": "function", "name": "write_note"}],
    ids=["auto", "required", "named"],
)
def test_responses(client: openai.OpenAI, choice: Any) -> None:
    for _ in TRIES:
        done = client.responses.create(**RESPONSES_ASKED, tools=RESPONSES_TOOLS, tool_choice=choice)
        calls = [item for item in done.output if item.type == "function_call"]
        assert done.status == "completed"
        assert calls
        assert [wrong(call.name, call.arguments) for call in calls] == [None] * len(calls)
        assert len({call.call_id for call in calls}) == len(calls)
        told: list[Any] = [
            {"type": "function_call_output", "call_id": call.call_id, "output": "rain"} for call in calls
        ]
        more = {**RESPONSES_ASKED, "input": told, "previous_response_id": done.id}
        again = client.responses.create(**more, tools=RESPONSES_TOOLS, tool_choice="none")
        assert again.status == "completed"
        assert [item.type for item in again.output] == ["message"]


def test_responses_in_a_stream(client: openai.OpenAI) -> None:
    for choice in ("auto", "required", "none"):
        with client.responses.stream(
            **RESPONSES_ASKED, tools=RESPONSES_TOOLS, tool_choice=cast("Any", choice)
        ) as stream:
            events: list[Any] = list(stream)
            final = stream.get_final_response()
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
        calls = [item for item in final.output if item.type == "function_call"]
        assert [wrong(call.name, call.arguments) for call in calls] == [None] * len(calls)
        assert bool(calls) == (choice != "none")
        ends = [e.arguments for e in events if e.type == "response.function_call_arguments.done"]
        assert ends == [call.arguments for call in calls]
        pieces = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert pieces == final.output_text


def test_a_typed_response(client: openai.OpenAI) -> None:
    for _ in TRIES:
        assert isinstance(
            client.responses.parse(**RESPONSES_ASKED, text_format=ShortTrip).output_parsed, ShortTrip
        )
        with client.responses.stream(**RESPONSES_ASKED, text_format=ShortTrip) as stream:
            final = stream.get_final_response()
        assert isinstance(final.output_parsed, ShortTrip)
        ShortTrip.model_validate(json.loads(final.output_text))
