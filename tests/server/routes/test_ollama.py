"""`/api/chat`, `/api/generate`, `/api/embed`: Ollama's answers, streamed and whole, and its errors."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import msgspec
import pytest

from models.errors import WorkerBusy
from server.engine.events import AnswerForm, Failure, Started
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from tests.server.http_client import client_for
from tests.server.scripted_service import DEMO, INFO, ScriptedService, Step, pools, says

CHAT: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
TEXT: dict[str, Any] = {"model": "demo:latest", "prompt": "Hi"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
THINKING = msgspec.structs.replace(
    DEMO, info=msgspec.structs.replace(INFO, prompt_format="template", chat_template="<think></think>")
)


async def post(service: ScriptedService, path: str, body: dict[str, Any], **settings: Any) -> httpx.Response:
    async with client_for(service, **settings) as client:
        return await client.post(path, json=body)


async def lines_of(service: ScriptedService, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = await post(service, path, body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


async def whole_of(service: ScriptedService, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await post(service, path, {**body, "stream": False})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()
    return found


def check_end(last: dict[str, Any], reason: str = "stop") -> None:
    assert (last["done"], last["done_reason"]) == (True, reason)
    assert (last["prompt_eval_count"], last["eval_count"]) == (7, 2)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (2_000_000, 10_000_000)
    assert last["total_duration"] > 0
    assert last["load_duration"] >= 0


async def test_a_chat() -> None:
    service = ScriptedService()
    lines = await lines_of(service, "/api/chat", CHAT)
    assert all(line["model"] == "demo" and TIME.fullmatch(line["created_at"]) for line in lines)
    said = [line["message"] for line in lines]
    assert said == [{"role": "assistant", "content": text} for text in ("Hello", " world", "")]
    assert [line["done"] for line in lines] == [False, False, True]
    check_end(lines[-1])
    assert "context" not in lines[-1]
    assert "truncated" not in lines[-1]

    whole = await whole_of(service, "/api/chat", CHAT)
    assert whole["message"] == {"role": "assistant", "content": "Hello world"}
    check_end(whole)
    name, request = service.requests[-1]
    assert name == "demo"
    assert isinstance(request.prompt, ChatPrompt)


async def test_a_prompt_tells_its_context() -> None:
    def script(request: Generate) -> list[Step]:
        started = Started(id=request.id, prompt_tokens=7, cached_tokens=3, tokens=(1, 2, 3), n_left_out=4)
        return [started, *says("Hello", " world")(request)[1:]]

    lines = await lines_of(ScriptedService(script), "/api/generate", TEXT)
    assert [line["response"] for line in lines] == ["Hello", " world", ""]
    assert all(line["model"] == "demo:latest" for line in lines)
    check_end(lines[-1])
    assert lines[-1]["context"] == [1, 2, 3, 100, 101]
    assert lines[-1]["truncated"] is True
    whole = await whole_of(ScriptedService(script), "/api/generate", TEXT)
    assert (whole["response"], whole["context"]) == ("Hello world", [1, 2, 3, 100, 101])
    raw = await whole_of(ScriptedService(), "/api/generate", {**TEXT, "raw": True})
    assert "context" not in raw


async def test_thoughts_and_calls() -> None:
    form = AnswerForm(tool_format="hermes", thoughts=("<think>", "</think>"))
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    script = says("<think>", "Hm", ".", "</think>", "I look.", *call, form=form)
    service = ScriptedService(script, [THINKING])
    asked = {**CHAT, "tools": [TOOL], "think": True}
    lines = await lines_of(service, "/api/chat", asked)
    messages = [line["message"] for line in lines]
    assert "".join(message.get("thinking", "") for message in messages) == "Hm."
    assert "".join(message["content"] for message in messages).strip() == "I look."
    (calling,) = [message for message in messages if "tool_calls" in message]
    assert (calling["role"], calling["content"]) == ("assistant", "")
    ((made,),) = [calling["tool_calls"]]
    assert made["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Rome"}}
    assert made["id"].startswith("call_")
    assert lines[-1]["done_reason"] == "stop"

    whole = (await whole_of(service, "/api/chat", asked))["message"]
    assert (whole["thinking"], whole["content"].strip()) == ("Hm.", "I look.")
    assert whole["tool_calls"][0]["function"] == made["function"]

    told = await whole_of(ScriptedService(says("<think>Hm.</think>Yes", form=form)), "/api/generate", TEXT)
    assert (told["thinking"], told["response"]) == ("Hm.", "Yes")


async def test_a_cut_call_does_not_come() -> None:
    form = AnswerForm(tool_format="hermes")
    script = says('<tool_call>\n{"name": "weather", "argu', reason="length", form=form)
    whole = await whole_of(ScriptedService(script), "/api/chat", {**CHAT, "tools": [TOOL]})
    assert whole["done_reason"] == "length"
    assert "tool_calls" not in whole["message"]


async def test_a_model_without_thoughts_refuses_them() -> None:
    for path, body in (("/api/chat", CHAT), ("/api/generate", TEXT)):
        response = await post(ScriptedService(), path, {**body, "think": "high"})
        assert response.status_code == 400
        assert response.json()["error"].startswith(f'"{body["model"]}" does not support thinking')
        assert (await post(ScriptedService(), path, {**body, "think": False})).status_code == 200


async def test_logprobs() -> None:
    asked = {**CHAT, "logprobs": True, "top_logprobs": 2}
    lines = await lines_of(ScriptedService(), "/api/chat", asked)
    (first,) = lines[0]["logprobs"]
    assert (first["token"], first["logprob"], first["bytes"]) == ("Hello", -0.25, list(b"Hello"))
    assert [each["token"] for each in first["top_logprobs"]] == ["Hello", "~0"]
    assert "logprobs" not in lines[-1]
    whole = await whole_of(ScriptedService(), "/api/generate", {**TEXT, "logprobs": True})
    assert [each["token"] for each in whole["logprobs"]] == ["Hello", " world"]
    assert "top_logprobs" not in whole["logprobs"][0]


async def test_vectors() -> None:
    service = ScriptedService()
    response = await post(service, "/api/embed", {"model": "demo", "input": ["a", "b"], "keep_alive": "5m"})
    body = response.json()
    assert body["model"] == "demo"
    assert [[round(number, 6) for number in row] for row in body["embeddings"]] == [[0.6, 0.8], [1.0, 0.0]]
    assert body["prompt_eval_count"] == 7
    assert body["total_duration"] >= body["load_duration"] >= 0
    assert (service.pools[0].keep_alive_s, service.pools[0].cut) == (300.0, "end")
    service.pool_script = pools((0.5, 0.25))
    old = await post(service, "/api/embeddings", {"model": "demo", "prompt": "a"})
    assert old.json() == {"embedding": [0.5, 0.25]}


# --- errors ---


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", {**CHAT, "model": "other"}, 404, "model 'other' not found"),
        ("/api/generate", {**TEXT, "model": "other:latest"}, 404, "model 'other:latest' not found"),
        ("/api/embed", {"model": "other", "input": "a"}, 404, "model 'other' not found"),
        ("/api/chat", {"messages": CHAT["messages"]}, 400, "model is required"),
        ("/api/chat", {**CHAT, "options": {"temperature": -1}}, 400, "options.temperature"),
        ("/api/chat", {**CHAT, "messages": [{"role": "user", "images": ["a"]}]}, 400, "messages[0].images"),
        ("/api/chat", CHAT["messages"], 400, "JSON object"),
        ("/api/me", {}, 404, "/api/me"),
        ("/api/tags", {}, 405, "/api/tags"),
        ("/api/create", {"model": "a", "from": "b"}, 501, "corral quantize"),
        ("/api/copy", {"source": "a", "destination": "b"}, 501, "one name"),
        ("/api/push", {"model": "a"}, 501, "published"),
        ("/api/blobs/sha256:0", {}, 501, "uploaded"),
    ],
)
async def test_errors(path: str, body: Any, status: int, words: str) -> None:
    response = await post(ScriptedService(), path, body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    assert words in response.json()["error"]


async def test_keys_and_a_full_queue_are_refused_in_the_same_form() -> None:
    response = await post(ScriptedService(), "/api/chat", CHAT, api_keys=["secret"])
    assert (response.status_code, list(response.json())) == (401, ["error"])
    busy = ScriptedService(lambda _: [WorkerBusy("the queue is full", retry_after_s=3)])
    response = await post(busy, "/api/chat", CHAT)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert response.json() == {"error": "the queue is full"}


async def test_an_error_in_a_stream_is_its_last_line() -> None:
    def script(request: Generate) -> list[Step]:
        failure = Failure(id=request.id, kind="server_error", message="the worker died")
        return [*says("Hello")(request)[:2], failure]

    lines = await lines_of(ScriptedService(script), "/api/chat", CHAT)
    assert lines[0]["message"]["content"] == "Hello"
    assert lines[-1] == {"error": "the worker died"}
    assert len(lines) == 2


async def test_version() -> None:
    async with client_for(ScriptedService(), api_keys=["secret"]) as client:
        version = (await client.get("/api/version")).json()["version"]
        assert tuple(map(int, version.split("."))) >= (0, 30, 0)
        assert (await client.head("/api/version")).status_code == 200
        assert (await client.head("/")).status_code == 200
        blob = await client.head("/api/blobs/sha256:0", headers={"Authorization": "Bearer secret"})
        assert blob.status_code == 501
