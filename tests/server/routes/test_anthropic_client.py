"""Anthropic's official client reads back what we send, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from pydantic import BaseModel

from models.errors import ContextLengthExceeded, CorralError, WorkerBusy, WorkerDied
from server.chat.thinking import Thinking
from server.chat.tools import ToolChoice
from server.engine.request import too_long_error
from tests.server.http_client import app_for, serving
from tests.server.scripted_answers import (
    HERMES,
    HERMES_THINKING,
    THINKING,
    answers,
    call,
    chat_of,
    turns,
)
from tests.server.scripted_service import DEMO, IDLE, Script, ScriptedService, says

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
TOOL: Any = {
    "name": "read",
    "description": "Reads a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
QUOTED = 'é"\n'
ASK: Any = {"model": "demo", "max_tokens": 500, "messages": MESSAGES}


@asynccontextmanager
async def client_of(script: Script | ScriptedService | None = None, **settings: Any) -> AsyncIterator[Any]:
    service = script if isinstance(script, ScriptedService) else ScriptedService(script)
    async with (
        serving(app_for(service, **settings)) as url,
        AsyncAnthropic(base_url=url, api_key="key", max_retries=0) as client,
    ):
        yield client


async def test_a_whole_message() -> None:
    async with client_of() as client:
        message = await client.messages.create(**ASK, system="Be brief.", metadata={"user_id": "me"})
    assert (message.type, message.role, message.model) == ("message", "assistant", "demo")
    assert [block.model_dump(exclude_none=True) for block in message.content] == [
        {"type": "text", "text": "Hello world"}
    ]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens == 4
    assert message.usage.cache_read_input_tokens == 3
    assert message.usage.cache_creation_input_tokens == 0
    assert message.usage.output_tokens == 2
    assert message._request_id.startswith("req_")


async def test_ids_never_repeat() -> None:
    async with client_of(answers(call("read", {"path": "a"}) * 2)) as client:
        made = [await client.messages.create(**ASK, tools=[TOOL]) for _ in range(3)]
    assert len({message.id for message in made}) == 3
    assert all(message.id.startswith("msg_") for message in made)
    calls = [block.id for message in made for block in message.content]
    assert len(set(calls)) == len(calls) == 6
    assert all(call_id.startswith("toolu_") for call_id in calls)


async def test_a_streamed_message() -> None:
    async with (
        client_of(says("Hé", "llo", " 🐑")) as client,
        client.messages.stream(**ASK) as stream,
    ):
        texts = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert texts == ["Hé", "llo", " 🐑"]
    assert final.content[0].text == "Héllo 🐑"
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens) == (4, 3)
    assert final.usage.output_tokens == 3


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_thoughts_words_and_calls(size: int) -> None:
    calls = f"{call('read', {'path': QUOTED})}\n{call('read', {})}"
    text = f"<think>\nLook first.\n</think>\n\nI look.\n{calls}"
    async with client_of(answers(text, HERMES_THINKING, size=size)) as client:
        whole = await client.messages.create(**ASK, tools=[TOOL])
        async with client.messages.stream(**ASK, tools=[TOOL]) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        thinking, words, first, second = message.content
        assert (thinking.type, thinking.thinking) == ("thinking", "Look first.")
        assert thinking.signature
        assert (words.type, words.text.strip()) == ("text", "I look.")
        assert (first.type, first.name, first.input) == ("tool_use", "read", {"path": QUOTED})
        assert second.input == {}
        assert message.stop_reason == "tool_use"
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 4
    assert kinds.count("signature") == 1


async def test_a_loop_of_tools() -> None:
    thinks = answers(f"<think>Hm.</think>{call('read', {'path': 'a.py'})}", HERMES_THINKING)
    service = ScriptedService(turns(thinks, answers("Done.")))
    async with client_of(service) as client:
        first = await client.messages.create(**ASK, tools=[TOOL])
        use = first.content[-1]
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "x = 1"}
        last = await client.messages.create(
            model="demo",
            max_tokens=100,
            tools=[TOOL],
            messages=[
                *MESSAGES,
                {"role": "assistant", "content": first.content},
                {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]},
            ],
        )
    assert last.content[0].text == "Done."
    chat = chat_of(service.requests[1][1])
    called = {"name": "read", "arguments": '{"path": "a.py"}'}
    assert chat.messages == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": use.id, "type": "function", "function": called}],
        },
        {"role": "tool", "tool_call_id": use.id, "name": "read", "content": "x = 1"},
        {"role": "user", "content": "Go on."},
    ]
    (tool,) = chat.tools
    assert (tool.name, tool.description, tool.parameters) == ("read", "Reads a file.", TOOL["input_schema"])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ToolChoice()),
        ({"type": "any"}, ToolChoice(mode="required")),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            ToolChoice(mode="required", parallel=False),
        ),
        ({"type": "tool", "name": "read"}, ToolChoice(mode="required", names=("read",))),
        ({"type": "none"}, ToolChoice(mode="none")),
    ],
)
async def test_choices_of_tools(choice: Any, expected: ToolChoice) -> None:
    service = ScriptedService(answers(call("read", {"path": "a"})))
    async with client_of(service) as client:
        await client.messages.create(**ASK, tools=[TOOL], tool_choice=choice)
    assert chat_of(service.request).tool_choice == expected


async def test_the_counted_tokens_are_those_of_the_usage() -> None:
    service = ScriptedService()
    async with client_of(service) as client:
        asked: Any = {"model": "demo", "messages": MESSAGES, "system": "Be brief.", "tools": [TOOL]}
        counted = await client.messages.count_tokens(**asked)
        made = await client.messages.create(**asked, max_tokens=5)
    assert counted.input_tokens == made.usage.input_tokens + made.usage.cache_read_input_tokens
    assert service.prompts == [chat_of(service.request)]


async def test_parsing() -> None:
    class City(BaseModel):
        name: str

    service = ScriptedService(says('{"name":', ' "Oslo"}'))
    async with client_of(service) as client:
        parsed = await client.messages.parse(**ASK, output_format=City)
    assert parsed.parsed_output == City(name="Oslo")
    constraint = service.request.constraint
    assert constraint is not None
    assert (constraint.kind, constraint.param) == ("json_schema", "output_config.format.schema")
    assert json.loads(constraint.text)["required"] == ["name"]
    assert json.loads(chat_of(service.request).response_schema or "") == json.loads(constraint.text)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 2048}, Thinking(enabled=True, budget_tokens=2048)),
        ({"type": "adaptive"}, Thinking(enabled=True)),
        ({"type": "disabled"}, Thinking(enabled=False)),
    ],
)
async def test_thinking(config: Any, expected: Thinking) -> None:
    service = ScriptedService(answers("Deep.</think>Yes.", THINKING))
    async with client_of(service) as client:
        message = await client.messages.create(**ASK, thinking=config)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert chat_of(service.request).thinking == expected


async def test_omitted_thoughts_come_back_in_their_signature() -> None:
    service = ScriptedService(answers("Deep é.</think>Yes.", THINKING))
    config: Any = {"type": "adaptive", "display": "omitted"}
    async with client_of(service) as client:
        async with client.messages.stream(**ASK, thinking=config) as stream:
            first = await stream.get_final_message()
        assert [block.type for block in first.content] == ["thinking", "text"]
        assert first.content[0].thinking == ""
        turn = {"role": "assistant", "content": first.content}
        asked = [*MESSAGES, turn, {"role": "user", "content": "And?"}]
        await client.messages.create(model="demo", max_tokens=9, messages=asked)
    assert chat_of(service.requests[1][1]).messages[1]["reasoning_content"] == "Deep é."


async def test_both_kinds_of_keys() -> None:
    async with serving(app_for(ScriptedService(), api_keys=("right",))) as url:
        keys: list[dict[str, Any]] = [{"api_key": "right"}, {"auth_token": "right"}]
        for given in keys:
            async with AsyncAnthropic(base_url=url, max_retries=0, **given) as client:
                assert (await client.messages.create(**ASK)).content
        headers = {"x-api-key": "right"}
        async with AsyncAnthropic(
            base_url=url, max_retries=0, auth_token="wrong", default_headers=headers
        ) as client:
            assert (await client.messages.create(**ASK)).content
        async with AsyncAnthropic(base_url=url, max_retries=0, api_key="wrong") as client:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                await client.messages.create(**ASK)
    body: Any = caught.value.body
    assert body["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("error", "expected", "kind", "said"),
    [
        (too_long_error(2048, 3000, 100, "messages"), anthropic.BadRequestError, "invalid_request_error",
         "prompt is too long: 3000 tokens > 2048 maximum"),
        (too_long_error(2048, 2048, 9, "messages"), anthropic.BadRequestError, "invalid_request_error",
         "prompt is too long: 2048 tokens > 2047 maximum"),
        (too_long_error(64, 90, 1, "messages", at_least=True), anthropic.BadRequestError,
         "invalid_request_error", "prompt is too long: at least 90 tokens > 64 maximum"),
        (ContextLengthExceeded("no room"), anthropic.BadRequestError, "invalid_request_error",
         "prompt is too long: no room"),
        (WorkerBusy("busy", 1.0), anthropic.RateLimitError, "rate_limit_error", "busy"),
        (WorkerDied("died"), anthropic.InternalServerError, "overloaded_error", "died"),
        (CorralError("a fault"), anthropic.InternalServerError, "api_error", "a fault"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_errors(
    error: Exception, expected: type[anthropic.APIStatusError], kind: str, said: str, stream: bool
) -> None:
    async with client_of(lambda _: [error]) as client:
        with pytest.raises(expected) as caught:
            await client.messages.create(**ASK, stream=stream)
    body: Any = caught.value.body
    assert body["error"] == {"type": kind, "message": said}
    assert body["request_id"] == caught.value.request_id
    if isinstance(error, WorkerBusy):
        assert caught.value.response.headers["retry-after"] == "1"
    if isinstance(error, WorkerDied):
        assert caught.value.status_code == 529


async def test_an_unknown_model() -> None:
    async with client_of() as client:
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.create(**(ASK | {"model": "claude"}))
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.count_tokens(model="claude", messages=MESSAGES)
    body: Any = caught.value.body
    assert body["error"]["type"] == "not_found_error"


async def test_an_error_in_the_stream() -> None:
    async with client_of(lambda request: [*says("a", "b")(request)[:3], WorkerDied("It died")]) as client:
        stream = await client.messages.create(**ASK, stream=True)
        kinds: list[str] = []

        async def read() -> None:
            async for event in stream:
                kinds.append(event.type)  # noqa: PERF401

        with pytest.raises(anthropic.APIStatusError, match="It died") as caught:
            await read()
    body: Any = caught.value.body
    assert body["error"]["type"] == "overloaded_error"
    assert kinds == ["message_start", "content_block_start", "content_block_delta", "content_block_delta"]


async def test_models() -> None:
    async with client_of(ScriptedService(models=[DEMO, IDLE])) as client:
        names = [model.id async for model in client.models.list(limit=1)]
        one = await client.models.retrieve("lmsys/vicuna-7b-v1.5")
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("claude")
    assert names == ["demo", "lmsys/vicuna-7b-v1.5"]
    assert (one.id, one.type, one.created_at.year) == ("lmsys/vicuna-7b-v1.5", "model", 2023)


async def test_a_cut_call_has_what_has_come() -> None:
    text = '<tool_call>\n{"name": "read", "arguments": {"path": "src/lo'
    async with client_of(answers(text, HERMES, reason="length")) as client:
        whole = await client.messages.create(**ASK, tools=[TOOL])
        async with client.messages.stream(**ASK, tools=[TOOL]) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert message.stop_reason == "max_tokens"
        assert message.content[0].input.get("path", "src/lo").startswith("src/")
