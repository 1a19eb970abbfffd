"""Golden transcripts: what goes over the wire, byte for byte where it matters."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from models.errors import WorkerDied
from server.engine.events import Failure
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt, TextPrompt, TokenPrompt
from server.openai.heading import SYSTEM_FINGERPRINT
from tests.server.http_client import CHAT, TEXT, client_for, events_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService, Step, finish, says


async def test_the_golden_chat_stream() -> None:
    async with client_for(ScriptedService(says("Hé", "llo"))) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    first = json.loads(response.text.split("\n\n")[0].removeprefix("data: "))
    assert first["id"].startswith("chatcmpl-")
    head = (
        f'{{"id":"{first["id"]}","object":"chat.completion.chunk","created":{first["created"]},'
        f'"model":"demo","system_fingerprint":"{SYSTEM_FINGERPRINT}","choices":[{{"index":0,"delta":'
    )
    timings = (
        '"timings":{"cache_n":3,"prompt_n":4,"prompt_ms":2.0,"prompt_per_token_ms":0.5,'
        '"prompt_per_second":2000.0,"predicted_n":2,"predicted_ms":10.0,"predicted_per_token_ms":5.0,'
        '"predicted_per_second":200.0,"queue_ms":0.5}'
    )
    assert response.text == (
        f'data: {head}{{"role":"assistant","content":""}},"finish_reason":null,"logprobs":null}}]}}\n\n'
        f'data: {head}{{"content":"Hé"}},"finish_reason":null,"logprobs":null}}]}}\n\n'
        f'data: {head}{{"content":"llo"}},"finish_reason":null,"logprobs":null}}]}}\n\n'
        f'data: {head}{{}},"finish_reason":"stop","logprobs":null}}],{timings}}}\n\n'
        "data: [DONE]\n\n"
    )


async def test_include_usage() -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async with client_for() as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, **options})
    *chunks, done = events_of(response.text)
    assert done == "[DONE]"
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 4
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_a_whole_chat(prefix: str) -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        response = await client.post(f"{prefix}/chat/completions", json=CHAT)
    body = response.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "demo"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello world", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert body["usage"]["total_tokens"] == 9
    assert body["timings"]["predicted_per_second"] == 200.0
    assert service.request.id == body["id"]
    assert service.request.prompt == ChatPrompt(CHAT["messages"])


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_text_completions(prefix: str) -> None:
    async with client_for(ScriptedService(says("a", "b", reason="length"))) as client:
        whole = await client.post(f"{prefix}/completions", json=TEXT)
        stream = await client.post(f"{prefix}/completions", json={**TEXT, "stream": True})
    body = whole.json()
    assert body["id"].startswith("cmpl-")
    assert body["object"] == "text_completion"
    assert body["choices"] == [{"index": 0, "text": "ab", "finish_reason": "length", "logprobs": None}]
    *chunks, done = events_of(stream.text)
    assert done == "[DONE]"
    assert [choice["text"] for chunk in chunks for choice in chunk["choices"]] == ["a", "b", ""]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_choices_interleave() -> None:
    async with client_for(ScriptedService(says("a", "b"))) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "n": 3, "stream": True})
    *chunks, _ = events_of(response.text)
    order = [chunk["choices"][0]["index"] for chunk in chunks]
    assert order == [0, 1, 2] * 4
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert len({chunk["created"] for chunk in chunks}) == 1


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("x", [TextPrompt("x")]),
        (["x", "y"], [TextPrompt("x"), TextPrompt("y")]),
        ([1, 2], [TokenPrompt((1, 2))]),
        ([[1], [2, 3]], [TokenPrompt((1,)), TokenPrompt((2, 3))]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_prompts_times_n(prompt: Any, sent: list[Any], stream: bool) -> None:
    service = ScriptedService(says("a", "b"))
    async with client_for(service) as client:
        response = await client.post(
            "/v1/completions", json={"model": "demo", "prompt": prompt, "n": 2, "stream": stream}
        )
    assert [request.prompt for _, request in service.requests] == sent
    texts: dict[int, str] = {}
    bodies = events_of(response.text)[:-1] if stream else [response.json()]
    for body in bodies:
        for choice in body["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == dict.fromkeys(range(2 * len(sent)), "ab")
    if not stream:
        assert response.json()["usage"]["completion_tokens"] == 4 * len(sent)


def _dies_after_two(error: Step) -> Any:
    return lambda request: [*says("a", "b")(request)[:3], error]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WorkerDied("The worker died"), "server_error"),
        (Failure(id="x", kind="server_error", message="The worker died"), "server_error"),
    ],
)
async def test_a_later_error_ends_the_stream(error: Step, kind: str) -> None:
    async with client_for(ScriptedService(_dies_after_two(error))) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert response.status_code == 200
    *chunks, last = events_of(response.text)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["", "a", "b"]
    assert last["error"]["message"] == "The worker died"
    assert last["error"]["type"] == kind
    assert "[DONE]" not in response.text


async def test_a_whole_answer_that_dies_has_its_own_status() -> None:
    failure = Failure(id="x", kind="server_error", message="The worker died")
    async with client_for(ScriptedService(_dies_after_two(failure))) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 500


async def test_silence_is_filled_with_comments() -> None:
    def script(request: Generate) -> list[Step]:
        started, delta, *rest = says("a")(request)
        return [started, 0.2, delta, 0.2, *rest]

    async with client_for(ScriptedService(script), sse_comment_s=0.05) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    blocks = response.text.split("\n\n")
    assert response.text.count(": keep-alive\n") >= 4
    assert blocks[1].startswith(": keep-alive\n")
    assert all("\ndata: " in f"\n{block}" for block in blocks[:-1])
    assert len(events_of(response.text)) == 4


async def test_no_comments_while_tokens_flow() -> None:
    def script(request: Generate) -> list[Step]:
        steps: list[Step] = []
        for step in says(*"abcdef")(request):
            steps += [step, 0.03]
        return steps

    async with client_for(ScriptedService(script), sse_comment_s=2.0) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert ": keep-alive" not in response.text


@pytest.mark.parametrize(
    ("statuses", "answered"),
    [([DEMO], "demo"), ([DEMO, IDLE], "demo"), ([IDLE], "lmsys/vicuna-7b-v1.5")],
)
async def test_the_model_may_be_left_out(statuses: list[Any], answered: str) -> None:
    service = ScriptedService(models=statuses)
    async with client_for(service) as client:
        response = await client.post("/v1/chat/completions", json={"messages": CHAT["messages"]})
    assert response.json()["model"] == answered
    assert service.requests[0][0] == answered


async def test_the_model_must_be_named_where_several_run() -> None:
    ready = [DEMO, type(DEMO)(name="other", state="ready", created=1)]
    async with client_for(ScriptedService(models=ready)) as client:
        response = await client.post("/v1/chat/completions", json={"messages": CHAT["messages"]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"
    assert "demo, other" in response.json()["error"]["message"]


async def test_the_model_is_named_as_it_was_asked_for() -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "model": "demo:Q4_K_M"})
    assert response.json()["model"] == "demo:Q4_K_M"
    assert service.requests[0][0] == "demo:Q4_K_M"


async def test_the_timeout_of_the_settings_goes_with_the_request() -> None:
    service = ScriptedService()
    async with client_for(service, request_timeout_s=9.0) as client:
        await client.post("/v1/chat/completions", json=CHAT)
    assert service.request.timeout_s == 9.0


async def test_requests_run_side_by_side() -> None:
    gate = asyncio.Event()

    def script(request: Generate) -> list[Step]:
        return [says("a")(request)[0], gate, finish(request, 0)]

    service = ScriptedService(script)
    async with client_for(service) as client:
        calls = [asyncio.create_task(client.post("/v1/chat/completions", json=CHAT)) for _ in range(16)]
        await service.reached(16)
        gate.set()
        responses = await asyncio.gather(*calls)
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["id"] for response in responses}) == 16
