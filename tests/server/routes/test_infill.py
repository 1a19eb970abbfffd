"""`/infill` in llama-server's form, and `suffix` of `/v1/completions`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.engine.events import ChoiceEnd, Delta, Failure, Started
from server.ipc.messages import Generate
from server.ipc.prompts import ExtraText, InfillPrompt, TextPrompt
from tests.server.http_client import client_for, error_of, events_of
from tests.server.scripted_service import ScriptedService, Step, finish, says

GAP: dict[str, Any] = {"input_prefix": "def f(", "input_suffix": "):\n"}
TIMINGS = {
    "cache_n",
    "prompt_n",
    "prompt_ms",
    "prompt_per_token_ms",
    "prompt_per_second",
    "predicted_n",
    "predicted_ms",
    "predicted_per_token_ms",
    "predicted_per_second",
    "queue_ms",
}


async def test_a_whole_answer_has_llama_servers_form() -> None:
    service = ScriptedService(says("x", ", y\n"))
    async with client_for(service) as client:
        response = await client.post("/infill", json=GAP | {"n_predict": 8, "return_tokens": True})
    body = response.json()
    timings = body.pop("timings")
    assert timings.keys() == TIMINGS
    assert body == {
        "index": 0,
        "content": "x, y\n",
        "tokens": [100, 101],
        "stop": True,
        "model": "demo",
        "tokens_predicted": 2,
        "tokens_evaluated": 7,
        "has_new_line": True,
        "truncated": False,
        "stop_type": "eos",
        "stopping_word": "",
        "tokens_cached": 9,
    }
    assert service.request.params.max_tokens == 8


async def test_the_whole_request_reaches_the_worker() -> None:
    service = ScriptedService()
    extra = [{"filename": "a.py", "text": "A"}, {"text": "B", "time": 3}]
    body = GAP | {"prompt": "a", "input_extra": extra, "spm_infill": True, "temperature": 0.5, "stop": ["\n"]}
    async with client_for(service) as client:
        assert (await client.post("/infill", json=body)).status_code == 200
    assert service.request.prompt == InfillPrompt(
        prefix="def f(",
        suffix="):\n",
        begun="a",
        extra=(ExtraText("A", "a.py"), ExtraText("B", "tmp")),
        in_repository=True,
        suffix_first=True,
        param="input_prefix",
    )
    assert (service.request.params.temperature, service.request.params.stop) == (0.5, ("\n",))


async def test_a_stream_ends_with_an_object_that_stops() -> None:
    async with client_for(ScriptedService(says("x", "y", reason="length"))) as client:
        response = await client.post("/infill", json=GAP | {"stream": True, "timings_per_token": True})
    *parts, last = events_of(response.text)
    assert [part["content"] for part in parts] == ["x", "y"]
    assert [part["tokens_predicted"] for part in parts] == [1, 2]
    assert all(part["stop"] is False and part["tokens_evaluated"] == 7 for part in parts)
    assert all(part["timings"].keys() >= TIMINGS - {"queue_ms"} for part in parts)
    assert (last["stop"], last["content"], last["stop_type"]) == (True, "", "limit")
    assert last["timings"]["predicted_n"] == 2


async def test_a_client_chooses_its_fields_as_llama_vim_does() -> None:
    wanted = ["content", "timings/prompt_n", "timings/nothing", "tokens_cached", "content/x", ""]
    async with client_for(ScriptedService(says("x"))) as client:
        response = await client.post("/infill", json=GAP | {"response_fields": wanted})
    assert response.json() == {"content": "x", "timings/prompt_n": 4, "tokens_cached": 8}


async def test_probabilities_have_llama_servers_form() -> None:
    async with client_for(ScriptedService(says("x"))) as client:
        whole = (await client.post("/infill", json=GAP | {"n_probs": 2})).json()
        streamed = (await client.post("/infill", json=GAP | {"n_probs": 2, "stream": True})).text
    (scored,) = whole["completion_probabilities"]
    assert (scored["id"], scored["token"], scored["bytes"], scored["logprob"]) == (100, "x", [120], -0.25)
    assert [entry["token"] for entry in scored["top_logprobs"]] == ["x", "~0"]
    assert events_of(streamed)[0]["completion_probabilities"] == [scored]


async def test_a_stop_string_and_a_text_without_room_are_told() -> None:
    def script(request: Generate) -> list[Step]:
        return [
            Started(id=request.id, prompt_tokens=7, cached_tokens=3, n_left_out=100),
            Delta(id=request.id, index=0, text="x"),
            ChoiceEnd(id=request.id, index=0, finish_reason="stop", stop="\n\n"),
            finish(request, 1),
        ]

    async with client_for(ScriptedService(script)) as client:
        body = (await client.post("/infill", json=GAP)).json()
    assert (body["stop_type"], body["stopping_word"], body["truncated"]) == ("word", "\n\n", True)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_is_a_400(stream: bool) -> None:
    def script(request: Generate) -> list[Step]:
        message = "this model can't fill in the middle of a text"
        return [Failure(id=request.id, kind="invalid_request", message=message, param="input_prefix")]

    async with client_for(ScriptedService(script)) as client:
        response = await client.post("/infill", json=GAP | {"stream": stream})
    assert response.status_code == 400
    assert error_of(response)["param"] == "input_prefix"


async def test_an_error_in_a_stream_is_its_last_event() -> None:
    def script(request: Generate) -> list[Step]:
        return [
            Started(id=request.id, prompt_tokens=7, cached_tokens=3),
            Delta(id=request.id, index=0, text="x"),
            Failure(id=request.id, kind="server_error", message="the worker has ended"),
        ]

    async with client_for(ScriptedService(script)) as client:
        response = await client.post("/infill", json=GAP | {"stream": True})
    first, last = events_of(response.text)
    assert first["content"] == "x"
    assert "the worker has ended" in last["error"]["message"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_prefix": None}, "input_prefix"),
        ({"input_prefix": 3}, "input_prefix"),
        ({"input_suffix": None}, "input_suffix"),
        ({"prompt": ["a"]}, "prompt"),
        ({"input_extra": {}}, "input_extra"),
        ({"input_extra": [{}]}, "input_extra"),
        ({"input_extra": [{"filename": "ok"}]}, "input_extra"),
        ({"input_extra": [{"filename": 123, "text": "abc"}]}, "input_extra"),
        ({"input_extra": [{"filename": "a", "text": 456}]}, "input_extra"),
        ({"n": 2}, "n"),
        ({"response_fields": "content"}, "response_fields"),
        ({"n_predict": -2}, "n_predict"),
    ],
)
async def test_a_wrong_field_is_named(change: dict[str, Any], param: str) -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        response = await client.post("/infill", json=GAP | change)
    assert response.status_code == 400
    assert re.split(r"[.\[]", error_of(response)["param"])[0] == param
    assert service.requests == []


async def test_missing_texts_are_named() -> None:
    async with client_for() as client:
        response = await client.post("/infill", json={"input_prefix": "a"})
    assert error_of(response)["param"] == "input_suffix"


async def test_a_completion_with_a_suffix_fills_the_gap() -> None:
    service = ScriptedService(says("x"))
    async with client_for(service) as client:
        body = {"model": "demo", "prompt": "def f(", "suffix": "):", "max_tokens": 4}
        response = await client.post("/v1/completions", json=body)
    assert response.json()["choices"][0]["text"] == "x"
    assert service.request.prompt == InfillPrompt(prefix="def f(", suffix="):", param="suffix")


@pytest.mark.parametrize("suffix", [None, ""])
async def test_an_empty_suffix_asks_for_nothing(suffix: str | None) -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        await client.post("/v1/completions", json={"prompt": "a", "suffix": suffix})
    assert service.request.prompt == TextPrompt("a")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [1, 2], "suffix": "x"}, "prompt"),
        ({"prompt": "a", "suffix": 3}, "suffix"),
        ({"prompt": "a", "suffix": "x", "echo": True}, "echo"),
    ],
)
async def test_a_suffix_that_cannot_be_served_is_a_400(body: dict[str, Any], param: str) -> None:
    async with client_for() as client:
        response = await client.post("/v1/completions", json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param
