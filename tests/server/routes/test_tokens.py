from __future__ import annotations

from typing import Any

import pytest

from server.chat.thinking import Thinking
from server.ipc.messages import Question, Reply, TokenizeReply
from server.ipc.prompts import ChatPrompt
from server.supervisor.protocol import ModelStatus
from tests.server.http_client import client_for, error_of
from tests.server.scripted_service import DEMO, ScriptedService


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"content": "ab"}, {"tokens": [97, 98]}),
        ({"content": "ab", "add_special": True}, {"tokens": [1, 97, 98]}),
        ({"content": "</s>"}, {"tokens": [2]}),
        ({"content": "<", "parse_special": False}, {"tokens": [60]}),
        ({"content": "", "model": "demo"}, {"tokens": []}),
        ({"content": "é", "with_pieces": True}, {"tokens": [{"id": 233, "piece": "é"}]}),
        ({"prompt": "a"}, {"tokens": [1, 97], "count": 2, "max_model_len": 2048}),
        ({"prompt": "a", "add_special_tokens": False}, {"tokens": [97], "count": 1, "max_model_len": 2048}),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_tokenize(prefix: str, body: dict[str, Any], expected: dict[str, Any]) -> None:
    async with client_for() as client:
        response = await client.post(f"{prefix}/tokenize", json=body)
    assert response.status_code == 200
    assert response.json() == expected


async def test_a_piece_that_is_no_text_comes_as_bytes() -> None:
    class Halves(ScriptedService):
        def reply(self, question: Question) -> Reply:
            return TokenizeReply("t", [5, 6], [b"\xc3", b"\xa9"])

    async with client_for(Halves()) as client:
        response = await client.post("/tokenize", json={"content": "é", "with_pieces": True})
    assert response.json() == {"tokens": [{"id": 5, "piece": [0xC3]}, {"id": 6, "piece": [0xA9]}]}


async def test_detokenize() -> None:
    async with client_for() as client:
        response = await client.post("/detokenize", json={"tokens": [97, 98]})
        empty = await client.post("/detokenize", json={"tokens": []})
    assert response.json() == {"content": "ab", "prompt": "ab"}
    assert empty.json() == {"content": "", "prompt": ""}


@pytest.mark.parametrize(
    "path", ["/tokenizer_info", "/v1/tokenizer_info", "/tokenizer_info?model=demo:Q4_K_M"]
)
async def test_tokenizer_info(path: str) -> None:
    async with client_for() as client:
        response = await client.get(path)
    assert response.json() == {
        "tokenizer_class": "llama.cpp",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": "{{ messages }}",
        "model_max_length": 2048,
        "vocab_size": 4096,
    }


async def test_tokenizer_info_loads_the_model() -> None:
    class Lazy(ScriptedService):
        def reply(self, question: Question) -> Reply:
            self.statuses = [DEMO]
            return super().reply(question)

    idle = ModelStatus(name="demo", state="available", created=1, type="Q4_K_M")
    async with client_for(Lazy(models=[idle])) as client:
        response = await client.get("/tokenizer_info")
        unknown = await client.get("/tokenizer_info?model=none")
    assert response.json()["eos_token"] == "</s>"
    assert error_of(unknown)["code"] == "model_not_found"


async def test_apply_template() -> None:
    service = ScriptedService()
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "prompt_format": "alpaca",
        "chat_template_kwargs": {"input": "x"},
        "add_generation_prompt": False,
        "reasoning_effort": "low",
    }
    async with client_for(service) as client:
        response = await client.post("/apply-template", json=body)
    assert response.json() == {"prompt": "user: Hi"}
    messages = [{"role": "user", "content": "Hi"}]
    expected = ChatPrompt(
        messages, "alpaca", {"input": "x"}, add_generation_prompt=False, thinking=Thinking(effort="low")
    )
    assert service.prompts == [expected]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": 5}, "content"),
        ("/tokenize", {"content": "x", "add_special": "yes"}, "add_special"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": ["x"]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/apply-template", {}, "messages"),
        ("/apply-template", {"messages": []}, "messages"),
    ],
)
async def test_bad_requests(path: str, body: dict[str, Any], param: str) -> None:
    async with client_for() as client:
        response = await client.post(path, json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"content": "x"}),
        ("/detokenize", {"tokens": [1]}),
        ("/apply-template", {"messages": [{"role": "user", "content": "x"}]}),
    ],
)
async def test_unknown_model(path: str, body: dict[str, Any]) -> None:
    async with client_for() as client:
        response = await client.post(path, json={**body, "model": "none"})
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"
