"""The official client runs an agent's loop with tools, over a real socket: `create`, `stream` and `parse`."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

from models.errors import WorkerDied
from tests.server.routes.test_openai_client import client_of
from tests.server.scripted_answers import HERMES_THINKING, answers, call, chat_of, turns
from tests.server.scripted_service import ScriptedService

ASK: Any = {"role": "user", "content": "How warm is it in Rome?"}


class Weather(BaseModel):
    """The weather of a city."""

    city: str


TOOLS: Any = [pydantic_function_tool(Weather)]
CALL = f"<think>Rome, then.</think>I look.\n{call('Weather', {'city': 'Rome'})}"


async def test_a_tool_loop() -> None:
    service = ScriptedService(turns(answers(CALL, HERMES_THINKING), answers("21 °C.", HERMES_THINKING)))
    async with client_of(service) as client:
        first = await client.chat.completions.create(model="demo", messages=[ASK], tools=TOOLS)
        said = first.choices[0].message
        assert said.tool_calls is not None
        made = said.tool_calls[0]
        assert made.type == "function"
        history: Any = [
            ASK,
            said.model_dump(),
            {"role": "tool", "tool_call_id": made.id, "content": "21"},
        ]
        last = await client.chat.completions.create(model="demo", messages=history, tools=TOOLS)
    assert last.choices[0].message.content == "21 °C."
    assert chat_of(service.requests[1][1]).messages == [
        ASK,
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Rome, then.",
            "tool_calls": [
                {
                    "id": made.id,
                    "type": "function",
                    "function": {"name": "Weather", "arguments": '{"city": "Rome"}'},
                }
            ],
        },
        {"role": "tool", "content": "21", "tool_call_id": made.id, "name": "Weather"},
    ]


async def test_parse_reads_arguments() -> None:
    async with client_of(ScriptedService(answers(CALL, HERMES_THINKING))) as client:
        answer = await client.chat.completions.parse(model="demo", messages=[ASK], tools=TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.parsed_arguments == Weather(city="Rome")


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_stream_helper_tells_calls_as_they_come(size: int) -> None:
    text = f"{CALL}\n{call('Weather', {'city': 'Bari'})}"
    async with (
        client_of(ScriptedService(answers(text, HERMES_THINKING, size=size))) as client,
        client.chat.completions.stream(model="demo", messages=[ASK], tools=TOOLS) as stream,
    ):
        events = [event async for event in stream]
        final = await stream.get_final_completion()
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [Weather(city="Rome"), Weather(city="Bari")]
    deltas = [
        event.arguments_delta for event in events if event.type == "tool_calls.function.arguments.delta"
    ]
    assert "".join(deltas) == '{"city": "Rome"}{"city": "Bari"}'
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.content == "I look."


async def test_the_stream_helper_names_a_cut_answer() -> None:
    script = answers(CALL[:-15], HERMES_THINKING, reason="length")
    async with client_of(ScriptedService(script)) as client:
        with pytest.raises(openai.LengthFinishReasonError):
            async with client.chat.completions.stream(model="demo", messages=[ASK], tools=TOOLS) as stream:
                await stream.until_done()


async def test_an_error_within_a_call() -> None:
    def dies(request: Any) -> Any:
        return [*answers(CALL, HERMES_THINKING)(request)[:25], WorkerDied("The worker died")]

    pieces: list[str] = []
    async with client_of(ScriptedService(dies)) as client:
        stream = await client.chat.completions.create(model="demo", messages=[ASK], tools=TOOLS, stream=True)

        async def read() -> None:
            async for chunk in stream:
                for made in chunk.choices[0].delta.tool_calls or []:
                    assert made.function is not None
                    pieces.append(made.function.arguments or "")

        with pytest.raises(openai.APIError, match="The worker died"):
            await read()
    assert json.dumps({"city": "Rome"}).startswith("".join(pieces))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tools": [*TOOLS, *TOOLS]}, "tools[1].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    async with client_of(ScriptedService()) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                **{"model": "demo", "messages": [ASK], "tools": TOOLS, **fields}
            )
    assert caught.value.param == param
