"""The official client reads back what we send, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from models.errors import ContextLengthExceeded, WorkerBusy, WorkerDied
from tests.server.http_client import app_for, serving
from tests.server.scripted_service import DEMO, IDLE, ScriptedService, says

MESSAGES: Any = [{"role": "user", "content": "Hi"}]


@asynccontextmanager
async def client_of(service: ScriptedService, **settings: Any) -> AsyncIterator[AsyncOpenAI]:
    async with (
        serving(app_for(service, **settings)) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client,
    ):
        yield client


async def test_a_whole_chat() -> None:
    async with client_of(ScriptedService()) as client:
        answer = await client.chat.completions.create(model="demo", messages=MESSAGES, seed=5, user="me")
    assert answer.choices[0].message.content == "Hello world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


async def test_a_streamed_chat() -> None:
    async with client_of(ScriptedService(says("Hé", "llo", " 🐑"))) as client:
        stream = await client.chat.completions.create(
            model="demo", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "Héllo 🐑"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_clients_stream_helper() -> None:
    async with (
        client_of(ScriptedService()) as client,
        client.chat.completions.stream(model="demo", messages=MESSAGES) as stream,
    ):
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Hello world"


async def test_text_completions() -> None:
    async with client_of(ScriptedService(says("a", "b"))) as client:
        whole = await client.completions.create(model="demo", prompt=["x", "y"], n=2, logit_bias={"5": -100})
        stream = await client.completions.create(model="demo", prompt="x", stream=True)
        text = "".join([chunk.choices[0].text async for chunk in stream])
    assert [choice.text for choice in whole.choices] == ["ab"] * 4
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert text == "ab"


async def test_logprobs_of_a_chat() -> None:
    async with client_of(ScriptedService(says("Hé", "llo"))) as client:
        answer = await client.chat.completions.create(
            model="demo", messages=MESSAGES, logprobs=True, top_logprobs=3
        )
        async with client.chat.completions.stream(
            model="demo", messages=MESSAGES, logprobs=True, top_logprobs=3
        ) as stream:
            final = await stream.get_final_completion()
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert [(entry.token, entry.logprob, entry.bytes) for entry in told.content] == [
        ("Hé", -0.25, [0x48, 0xC3, 0xA9]),
        ("llo", -0.5, [0x6C, 0x6C, 0x6F]),
    ]
    assert [top.logprob for top in told.content[0].top_logprobs] == [-0.25, -1.25, -2.25]
    streamed = final.choices[0].logprobs
    assert streamed is not None
    assert streamed.content is not None
    assert [entry.model_dump() for entry in streamed.content] == [
        entry.model_dump() for entry in told.content
    ]


async def test_logprobs_of_completions() -> None:
    async with client_of(ScriptedService(says("a", "b"))) as client:
        whole = await client.completions.create(
            model="demo", prompt=["x", "y"], n=2, logprobs=2, echo=True, max_tokens=1
        )
        stream = await client.completions.create(model="demo", prompt="x", logprobs=2, stream=True)
        chunks = [chunk.choices[0].logprobs async for chunk in stream]
    for choice in whole.choices:
        assert choice.text == "Hi youa"
        assert choice.logprobs is not None
        assert choice.logprobs.tokens == ["<s>", " Hi", " you", "a"]
        assert choice.logprobs.token_logprobs == [None, -1.5, -2.5, -0.25]
        assert choice.logprobs.text_offset == [0, 0, 2, 6]
        assert choice.logprobs.top_logprobs is not None
        assert choice.logprobs.top_logprobs[3] == {"a": -0.25, "~0": -1.25}
    told = [chunk for chunk in chunks if chunk is not None]
    assert [chunk.tokens for chunk in told] == [["a"], ["b"]]
    assert [chunk.text_offset for chunk in told] == [[0], [1]]


async def test_best_of() -> None:
    service = ScriptedService(says("a", "b"))
    async with client_of(service) as client:
        answer = await client.completions.create(model="demo", prompt="x", n=2, best_of=5)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 10
    assert service.request.n == 5


async def test_models() -> None:
    async with client_of(ScriptedService(models=[DEMO, IDLE])) as client:
        names = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("lmsys/vicuna-7b-v1.5")
    assert names == ["demo", "lmsys/vicuna-7b-v1.5"]
    assert (one.id, one.object, one.owned_by) == ("lmsys/vicuna-7b-v1.5", "model", "corral")


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [
        (ContextLengthExceeded("too long"), openai.BadRequestError, "context_length_exceeded"),
        (WorkerBusy("busy", 1.0), openai.RateLimitError, "rate_limit_exceeded"),
        (WorkerDied("died"), openai.InternalServerError, "worker_died"),
    ],
)
async def test_errors(error: Exception, expected: type[openai.APIStatusError], code: str) -> None:
    async with client_of(ScriptedService(lambda _: [error])) as client:
        with pytest.raises(expected) as caught:
            await client.chat.completions.create(model="demo", messages=MESSAGES, stream=True)
    assert caught.value.code == code
    assert str(error) in caught.value.message


async def test_an_unknown_model() -> None:
    async with client_of(ScriptedService()) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="gpt-5", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


async def test_a_wrong_key() -> None:
    async with client_of(ScriptedService(), api_keys=("another",)) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
    assert caught.value.code == "invalid_api_key"


async def test_an_error_in_the_stream() -> None:
    service = ScriptedService(lambda request: [*says("a", "b")(request)[:3], WorkerDied("The worker died")])
    async with client_of(service) as client:
        stream = await client.chat.completions.create(model="demo", messages=MESSAGES, stream=True)
        texts: list[str | None] = []

        async def read() -> None:
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content)  # noqa: PERF401

        with pytest.raises(openai.APIError, match="The worker died"):
            await read()
    assert texts == ["", "a", "b"]
