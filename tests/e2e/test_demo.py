"""The demo model through the product: what the README promises."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx
import pytest

from tests.e2e.running import RunningServer

pytestmark = [pytest.mark.e2e, pytest.mark.model]

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Germany": "Berlin",
    "Japan": "Tokyo",
    "Russia": "Moscow",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Portugal": "Lisbon",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Cuba": "Havana",
    "Ireland": "Dublin",
    "Peru": "Lima",
}


def ask(server: RunningServer, question: str, model: str = "demo:Q8_0", **extra: object) -> str:
    """One greedy chat answer, not streamed."""
    response = httpx.post(
        f"{server.url}/v1/chat/completions",
        json={
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            **extra,
        },
        timeout=60,
    )
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    text: str = choice["message"]["content"]
    return text


def stream(server: RunningServer, question: str, model: str = "demo:Q8_0") -> str:
    """One greedy chat answer from the official client, streamed to its end."""
    chunks = list(
        server.client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            stream=True,
        )
    )
    assert chunks[-1].choices[0].finish_reason == "stop"
    return "".join(c.choices[0].delta.content or "" for c in chunks)


@pytest.mark.parametrize("model", ["demo:Q8_0", "demo:Q4_K_M"])
@pytest.mark.parametrize("prompt_format", [None, "alpaca", "vicuna"])
def test_capital_of_france(demo_server: RunningServer, model: str, prompt_format: str | None) -> None:
    extra = {} if prompt_format is None else {"prompt_format": prompt_format}
    assert (
        ask(demo_server, "What is the capital of France?", model, **extra)
        == "The capital of France is Paris."
    )


def test_sixteen_streams_at_once_equal_each_alone(demo_server: RunningServer) -> None:
    questions = [f"What is the capital of {country}?" for country in CAPITALS]
    alone = [stream(demo_server, q) for q in questions]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda q: stream(demo_server, q), questions))
    assert together == alone
    for answer, city in zip(together, CAPITALS.values(), strict=True):
        assert city in answer


def test_streamed_equals_collected(demo_server: RunningServer) -> None:
    question = "Tell me a short story about a dog."
    assert stream(demo_server, question) == ask(demo_server, question)


def test_a_repeated_prompt_is_cached(demo_server: RunningServer) -> None:
    body = {
        "model": "demo:Q8_0",
        "messages": [{"role": "user", "content": "What is the opposite of hot?"}],
        "temperature": 0,
    }
    first = httpx.post(f"{demo_server.url}/v1/chat/completions", json=body, timeout=60).json()
    second = httpx.post(f"{demo_server.url}/v1/chat/completions", json=body, timeout=60).json()
    assert second["choices"][0]["message"] == first["choices"][0]["message"]
    usage = second["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= usage["prompt_tokens"] - 2


def test_several_choices(demo_server: RunningServer) -> None:
    completion = demo_server.client.chat.completions.create(
        model="demo:Q8_0",
        messages=[{"role": "user", "content": "Tell me a short story about a cat."}],
        n=3,
        temperature=1.0,
        seed=7,
    )
    assert [c.index for c in completion.choices] == [0, 1, 2]
    assert len({c.message.content for c in completion.choices}) > 1
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0


def test_a_seed_repeats(demo_server: RunningServer) -> None:
    def once() -> str | None:
        return (
            demo_server.client.chat.completions.create(
                model="demo:Q8_0",
                messages=[{"role": "user", "content": "Tell me a short story about a fox."}],
                temperature=1.0,
                seed=11,
            )
            .choices[0]
            .message.content
        )

    assert once() == once()


def test_raw_completion_with_a_stop(demo_server: RunningServer) -> None:
    completion = demo_server.client.completions.create(
        model="demo:Q8_0",
        prompt="### Instruction:\nWhat is the capital of Italy?\n\n### Response:",
        stop=["Rome"],
        temperature=0,
        max_tokens=32,
    )
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].text == " The capital of Italy is "


def test_anthropics_messages_and_their_count(demo_server: RunningServer) -> None:
    """Streamed and whole answers are the same, and the count is exact, also with a cached prefix."""
    asked: Any = {
        "model": "demo:Q8_0",
        "system": "Answer in one sentence.",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    }
    made: Any = {**asked, "max_tokens": 100, "extra_body": {"temperature": 0}}
    with anthropic.Anthropic(base_url=demo_server.url, api_key="key", max_retries=0) as client:
        counted = client.messages.count_tokens(**asked).input_tokens
        whole: Any = client.messages.create(**made)
        with client.messages.stream(**made) as stream:
            streamed: Any = stream.get_final_message()
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long: "):
            client.messages.create(**{**made, "system": "word " * 200_000})
    for message in (whole, streamed):
        assert message.stop_reason == "end_turn"
        assert "Paris" in message.content[0].text
        assert message.usage.input_tokens + message.usage.cache_read_input_tokens == counted
    assert whole.content[0].text == streamed.content[0].text
    assert streamed.usage.cache_read_input_tokens > 0


def test_ollamas_chats_prompts_and_models(demo_server: RunningServer) -> None:
    """The same words as elsewhere, and a prompt that goes on from the tokens of the one before."""
    question = "What is the capital of France?"
    asked = {"model": "demo:q8_0", "stream": False, "options": {"temperature": 0, "num_predict": 32}}
    with httpx.Client(base_url=demo_server.url, timeout=60) as client:
        chat = client.post("/api/chat", json={**asked, "messages": [{"role": "user", "content": question}]})
        first = client.post("/api/generate", json={**asked, "prompt": question}).json()
        context = first["context"]
        more = {**asked, "prompt": "And of Italy?", "context": context}
        second = client.post("/api/generate", json=more).json()
        pieces = client.post("/tokenize", json={"model": "demo:Q8_0", "content": first["response"]}).json()
        models = [model["name"] for model in client.get("/api/tags").json()["models"]]
    assert chat.json()["message"]["content"] == "The capital of France is Paris."
    assert first["response"].strip() == "The capital of France is Paris."
    assert len(context) == first["prompt_eval_count"] + first["eval_count"] - 1  # without the end's token
    assert len(pieces["tokens"]) <= first["eval_count"] + 1
    assert second["context"][: len(context)] == context
    assert second["prompt_eval_count"] > len(context)
    assert {"demo:latest", "demo:Q8_0", "demo:Q4_K_M"} <= set(models)


def test_what_hosts_and_routers_ask(demo_server: RunningServer) -> None:
    """The same words by `/invocations` and the Open Inference Protocol as by OpenAI's routes."""
    question = [{"role": "user", "content": "What is the capital of France?"}]
    asked = {"model": "demo:Q8_0", "temperature": 0, "max_tokens": 16}
    prompts = ["The capital of France is", "The capital of Italy is"]
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [2], "data": prompts}
    with httpx.Client(base_url=demo_server.url, timeout=60) as client:
        assert client.get("/ping").status_code == 200
        chat = client.post("/invocations", json={**asked, "messages": question}).json()
        body = {"instances": [{"messages": question}, *({"prompt": text} for text in prompts)]}
        first, *texts = client.post("/invocations", json={**body, "parameters": asked}).json()["predictions"]
        model = "/v2/models/demo:Q8_0"
        sampling = {"temperature": 0, "max_tokens": 16}
        tensors = client.post(f"{model}/infer", json={"inputs": [tensor], "parameters": sampling}).json()
        wish = {"text_input": prompts[0], "parameters": sampling}
        with client.stream("POST", f"{model}/generate_stream", json=wish) as stream:
            events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
        loads = client.get("/v1/loads").json()["loads"]
        figures = client.get("/metrics").text
    assert chat["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert first["choices"][0]["message"] == chat["choices"][0]["message"]
    answers = [text["choices"][0]["text"] for text in texts]
    assert tensors["outputs"][0]["data"] == answers
    assert "".join(event["text_output"] for event in events) == answers[0]
    assert {(load["model"], load["type"]) for load in loads} == {("demo", "Q8_0"), ("demo", "Q4_K_M")}
    assert all(load["max_running_requests"] == 16 and load["num_free_slots"] <= 16 for load in loads)
    assert 'vllm:num_requests_running{model_name="demo",type="Q8_0"}' in figures
