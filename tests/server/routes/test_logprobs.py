"""Golden transcripts of logprobs, `echo` and `best_of`, and what evaluation tools make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.engine.events import Delta, TokenLogprob
from server.ipc.messages import Generate
from tests.server.http_client import CHAT, TEXT, client_for, error_of, events_of
from tests.server.scripted_service import ScriptedService, Step, says

SCORE = {"temperature": 0, "logprobs": 1, "seed": 1234, "echo": True}
"""What lm-evaluation-harness sends beside model, prompt and max_tokens."""


async def post(path: str, body: dict[str, Any], service: ScriptedService | None = None) -> Any:
    async with client_for(service or ScriptedService(says("Hé", "llo"))) as client:
        response = await client.post(f"/v1/{path}", json=body)
    assert response.status_code == 200
    return events_of(response.text)[:-1] if body.get("stream") else response.json()


async def test_the_golden_chat() -> None:
    asked = {**CHAT, "logprobs": True, "top_logprobs": 2}
    async with client_for(ScriptedService(says("Hé"))) as client:
        response = await client.post("/v1/chat/completions", json=asked)
    assert (
        '"logprobs":{"content":[{"token":"Hé","logprob":-0.25,"bytes":[72,195,169],"top_logprobs":['
        '{"token":"Hé","logprob":-0.25,"bytes":[72,195,169]},'
        '{"token":"~0","logprob":-1.25,"bytes":[126,48]}]}],"refusal":null}'
    ) in response.text


async def test_the_golden_completion() -> None:
    async with client_for(ScriptedService(says("Hé", "llo"))) as client:
        response = await client.post("/v1/completions", json={**TEXT, "logprobs": 2})
    assert (
        '"logprobs":{"tokens":["Hé","llo"],"token_logprobs":[-0.25,-0.5],'
        '"top_logprobs":[{"Hé":-0.25,"~0":-1.25},{"llo":-0.5,"~0":-1.5}],"text_offset":[0,2]}'
    ) in response.text


async def test_the_golden_score_of_a_prompt() -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        response = await client.post("/v1/completions", json={**TEXT, **SCORE, "max_tokens": 0})
    body = json.loads(response.text)
    assert body["choices"] == [
        {
            "index": 0,
            "text": "Hi you",
            "finish_reason": "stop",
            "logprobs": {
                "tokens": ["<s>", " Hi", " you"],
                "token_logprobs": [None, -1.5, -2.5],
                "top_logprobs": [None, {" Hi": -1.5}, {" you": -2.5}],
                "text_offset": [0, 0, 2],
            },
        }
    ]
    assert service.request.params.max_tokens == 0
    assert service.request.score_prompt


@pytest.mark.parametrize(("path", "body"), [("chat/completions", CHAT), ("completions", TEXT)])
async def test_a_stream_equals_the_whole(path: str, body: dict[str, Any]) -> None:
    asked = {**body, "n": 2, "logprobs": True if path[:4] == "chat" else 3}
    if path == "completions":
        asked["echo"] = True
    whole = await post(path, asked)
    parts: dict[int, dict[str, Any]] = {0: {}, 1: {}}
    for chunk in await post(path, {**asked, "stream": True}):
        for choice in chunk["choices"]:
            for name, entries in (choice["logprobs"] or {}).items():
                parts[choice["index"]].setdefault(name, []).extend(entries or [])
    for choice in whole["choices"]:
        expected = {name: entries or [] for name, entries in choice["logprobs"].items()}
        assert parts[choice["index"]] == expected


def harness_scores(body: dict[str, Any], context_lengths: list[int]) -> list[tuple[float, bool]]:
    """Sum of the continuation's logprobs and whether each was the likeliest, as the harness takes them."""
    scores = []
    for choice, n_context in zip(body["choices"], context_lengths, strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][n_context:-1]
        top = choice["logprobs"]["top_logprobs"][n_context:-1]
        greedy = all(mine == max(any_.values()) for mine, any_ in zip(logprobs, top, strict=True))
        scores.append((sum(logprobs), greedy))
    return scores


@pytest.mark.parametrize(
    ("prompt", "count"), [("x", 1), (["x", "y"], 2), ([1, 2, 3], 1), ([[1, 2, 3], [1, 2, 4]], 2)]
)
async def test_the_harness_finds_its_scores(prompt: Any, count: int) -> None:
    body = await post("completions", {"model": "demo", "prompt": prompt, "max_tokens": 1, **SCORE})
    assert harness_scores(body, [1] * count) == [(-4.0, True)] * count


async def test_the_harness_sees_that_another_token_was_likelier() -> None:
    def script(request: Generate) -> list[Step]:
        steps = list(says("a")(request))
        unlikely = TokenLogprob(5, b"b", -3.0, ((6, b"c", -0.1),))
        steps.insert(3, Delta(id=request.id, index=0, text="b", logprobs=(unlikely,)))
        return steps

    body = await post(
        "completions", {"model": "demo", "prompt": "x", **SCORE, "max_tokens": 2}, ScriptedService(script)
    )
    assert harness_scores(body, [2]) == [(-5.5, False)]


@pytest.mark.parametrize("echo", [False, True])
async def test_best_of(echo: bool) -> None:
    def script(request: Generate) -> list[Step]:
        """Choice i says its number; 2 is the likeliest, then 0."""

        def changed(step: Step) -> Step:
            if not isinstance(step, Delta) or step.n_tokens == 0:
                return step
            told = (TokenLogprob(5, b"?", (-2.0, -4.0, -1.0, -3.0)[step.index]),)
            return Delta(id=step.id, index=step.index, text=str(step.index), logprobs=told)

        return [changed(step) for step in says("?")(request)]

    service = ScriptedService(script)
    asked = {**TEXT, "prompt": ["x", "y"], "n": 2, "best_of": 4, "echo": echo}
    body = await post("completions", asked, service)
    start = "Hi you" if echo else ""
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [
        (0, f"{start}2"),
        (1, f"{start}0"),
        (2, f"{start}2"),
        (3, f"{start}0"),
    ]
    assert all(choice["logprobs"] is None for choice in body["choices"])
    assert body["usage"]["completion_tokens"] == 8
    assert [(request.n, request.n_probs) for _, request in service.requests] == [(4, 0)] * 2


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("completions", {**TEXT, "best_of": 2, "stream": True}, "best_of"),
        ("completions", {**TEXT, "best_of": 1, "n": 2}, "best_of"),
        ("completions", {**TEXT, "logprobs": 21}, "logprobs"),
        ("completions", {**TEXT, "logprobs": True}, "logprobs"),
        ("completions", {**TEXT, "lora": [{"id": 0}]}, "lora"),
        ("completions", {**TEXT, "priority": 1 << 40}, "priority"),
        ("chat/completions", {**CHAT, "top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ("chat/completions", {**CHAT, "logprobs": 1}, "logprobs"),
        ("chat/completions", {**CHAT, "max_tokens": 0}, "max_tokens"),
        ("chat/completions", {**CHAT, "n_predict": 0}, "n_predict"),
    ],
)
async def test_what_is_refused(path: str, body: dict[str, Any], param: str) -> None:
    async with client_for() as client:
        response = await client.post(f"/v1/{path}", json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param
