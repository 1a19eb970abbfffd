"""`/completion` in llama-server's form: its prompts, settings, streams and errors."""

from __future__ import annotations

import math
from typing import Any

import pytest

from models.errors import ContextLengthExceeded
from server.engine.event_factory import error_failure
from server.engine.events import PromptProgress, RequestReading, Started
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import MixedPrompt, TextPrompt, TokenPrompt
from tests.server.http_client import client_for, error_of, events_of
from tests.server.responses.clients import named_events
from tests.server.scripted_service import ScriptedService, Step, says


def reads(request: Generate) -> list[Step]:
    """The script of an answer whose `Started` tells the request's reading."""
    started, *rest = says("a", "b\n", reason="length")(request)
    assert isinstance(started, Started)
    params = SamplingParams(max_tokens=2, seed=7, ignore_eos=True)
    reading = RequestReading("<s> Hi", params, (2, 3))
    return [
        Started(id=request.id, prompt_tokens=7, cached_tokens=3, reading=reading),
        *rest,
    ]


async def sent(body: dict[str, Any], **settings: Any) -> tuple[ScriptedService, Any]:
    service = ScriptedService(reads)
    async with client_for(service, **settings) as client:
        response = await client.post("/completion", json=body)
    assert response.status_code == 200, response.text
    return service, response.json()


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Hi", [TextPrompt("Hi")]),
        ([1, 2], [TokenPrompt((1, 2))]),
        (["Hi", "you"], [TextPrompt("Hi"), TextPrompt("you")]),
        ([[1, 2], "Hi"], [TokenPrompt((1, 2)), TextPrompt("Hi")]),
        ([1, 2, "Hi", 3], [MixedPrompt(((1, 2), "Hi", (3,)))]),
        ([["Hi", 3], {"prompt_string": "you"}], [MixedPrompt(("Hi", (3,))), TextPrompt("you")]),
        ({"prompt_string": "Hi"}, [TextPrompt("Hi")]),
    ],
)
async def test_every_form_of_a_prompt(prompt: Any, expected: list[Any]) -> None:
    service, body = await sent({"prompt": prompt})
    assert [request.prompt for _, request in service.requests] == expected
    assert isinstance(body, list) == (len(expected) > 1)
    if isinstance(body, list):
        assert [each["index"] for each in body] == list(range(len(expected)))


async def test_images_are_refused_where_no_chat_shows_them() -> None:
    async with client_for(ScriptedService()) as client:
        body = {"prompt": "a", "image_data": [{"data": "aGk=", "id": 1}]}
        refused = await client.post("/completion", json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "image_data")
        assert "only chats have them" in refused.text
        assert (await client.post("/completion", json=body | {"image_data": []})).status_code == 200


@pytest.mark.parametrize(
    "prompt",
    [
        [],
        None,
        5,
        [[]],
        [True],
        [-1],
        [1.5],
        {"text": "Hi"},
        {"prompt_string": "a", "multimodal_data": ["x"]},
    ],
)
async def test_other_prompts_are_refused(prompt: Any) -> None:
    async with client_for(ScriptedService()) as client:
        response = await client.post("/completion", json={"prompt": prompt})
    assert response.status_code == 400
    assert error_of(response)["param"] == "prompt"


async def test_an_answer_tells_the_settings_as_the_worker_read_them() -> None:
    _, body = await sent({"prompt": "Hi", "n_predict": 2, "logit_bias": [[5, -100]]})
    settings = body["generation_settings"]
    assert (settings["n_predict"], settings["seed"], settings["top_n_sigma"]) == (2, 7, -1.0)
    assert settings["logit_bias"] == [{"token": 2, "bias": None}, {"token": 3, "bias": None}]
    assert (body["prompt"], body["truncated"], body["stop_type"]) == ("<s> Hi", False, "limit")
    assert body["timings"]["predicted_per_second"] > 0


async def test_only_the_named_fields_are_answered() -> None:
    fields = ["content", "generation_settings/n_predict", "prompt", "nothing"]
    _, body = await sent({"prompt": "Hi", "response_fields": fields})
    assert body == {"content": "ab\n", "generation_settings/n_predict": 2, "prompt": "<s> Hi"}


async def test_a_stream_has_an_object_with_all_about_each_choice() -> None:
    service = ScriptedService(reads)
    async with client_for(service) as client:
        response = await client.post("/completion", json={"prompt": ["Hi", "you"], "stream": True})
    assert all(request.return_tokens for _, request in service.requests)
    lasts = [event for event in events_of(response.text) if event["stop"]]
    assert sorted(last["index"] for last in lasts) == [0, 1]
    assert all("generation_settings" in last and last["timings"]["predicted_n"] == 2 for last in lasts)


async def test_a_stream_tells_how_far_the_prompt_is() -> None:
    def progresses(request: Generate) -> list[Step]:
        started, *rest = says("a")(request)
        assert request.tells_progress
        told: list[Step] = [
            PromptProgress(id=request.id, total=7, cached=3, processed=processed, ms=float(processed))
            for processed in (3, 7)
        ]
        return [started, *told, *rest]

    wish = {"stream": True, "return_progress": True, "timings_per_token": True}
    async with client_for(ScriptedService(progresses)) as client:
        native = await client.post("/completion", json={"prompt": "Hi", **wish})
        chat = await client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}], **wish}
        )
        named = await client.post("/v1/responses", json={"input": "Hi", **wish})
    events = named_events(named.text)
    told = [event for event in events if "prompt_progress" in event]
    assert {event["type"] for event in told} == {"response.in_progress"}
    assert [event["prompt_progress"]["processed"] for event in told] == [3, 7]
    (delta,) = [event for event in events if event["type"] == "response.output_text.delta"]
    assert delta["timings"]["predicted_n"] == 1
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["timings"]["predicted_n"] == events[-1]["response"]["usage"]["output_tokens"]
    assert sum("timings" in event for event in events) == 4
    for response in (native, chat):
        told = [event for event in events_of(response.text) if "prompt_progress" in event]
        assert [event["prompt_progress"]["processed"] for event in told] == [3, 7]
        assert [event["timings"]["prompt_n"] for event in told] == [0, 4]
        assert told[0]["timings"]["prompt_ms"] == 0.0


async def test_texts_get_biases_and_false_bans() -> None:
    service, _ = await sent({"prompt": "Hi", "logit_bias": {" the": -2.5, "17": False, "a b": 300}})
    assert service.request.params.logit_bias == ((17, -math.inf),)
    assert service.request.bias_texts == ((" the", -2.5), ("a b", 300.0))


@pytest.mark.parametrize("samplers", ["kt", ["top_k", "temperature"], ["top-k", "temp"]])
async def test_samplers_that_are_left_out_are_off(samplers: Any) -> None:
    service, _ = await sent({"prompt": "Hi", "samplers": samplers, "top_p": 0.3, "top_k": 5})
    params = service.request.params
    assert (params.top_k, params.top_p, params.min_p, params.temperature) == (5, 1.0, 0.0, 0.8)
    assert {"top_p", "min_p"} <= set(service.request.given)


async def test_what_llama_vim_sends_is_served(caplog: pytest.LogCaptureFixture) -> None:
    wishes = {"samplers": ["top_k", "top_p", "infill"], "n_indent": 4, "t_max_prompt_ms": 500}
    async with client_for(ScriptedService(reads)) as client:
        response = await client.post("/infill", json={"input_prefix": "a", "input_suffix": "b", **wishes})
    assert response.status_code == 200
    assert {"samplers (infill)", "n_indent"} <= {
        record.args[0] for record in caplog.records if isinstance(record.args, tuple) and record.args
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samplers", ["magic"]),
        ("samplers", 3),
        ("logit_bias", [["", 1]]),
        ("n_cmpl", 0),
    ],
)
async def test_what_would_change_the_answer_and_is_not_here_is_refused(field: str, value: Any) -> None:
    async with client_for(ScriptedService()) as client:
        response = await client.post("/completion", json={"prompt": "Hi", field: value})
    assert response.status_code == 400
    assert error_of(response)["param"] == field


async def test_the_time_and_the_number_of_answers_reach_the_worker() -> None:
    service, body = await sent({"prompt": "Hi", "t_max_predict_ms": 1500, "n_cmpl": 1})
    assert (service.request.predict_ms, service.request.n) == (1500.0, 1)
    assert isinstance(body, dict)


async def test_minus_one_wins_over_the_servers_defaults() -> None:
    service, _ = await sent({"prompt": "Hi", "n_predict": -1, "seed": -1})
    assert {"max_tokens", "seed"} <= set(service.request.given)
    assert (service.request.params.max_tokens, service.request.params.seed) == (None, None)


# --- where the APIs contradict each other -----------------------------------------------------------


@pytest.mark.parametrize("dialect", ["openai", "llama-server"])
async def test_the_dialect_decides_whose_completions_answer(dialect: str) -> None:
    service = ScriptedService(reads)
    async with client_for(service, dialect=dialect) as client:
        plain = (await client.post("/completions", json={"prompt": "Hi"})).json()
        versioned = (await client.post("/v1/completions", json={"prompt": "Hi"})).json()
    assert ("content" in plain) == (dialect == "llama-server")
    assert "choices" in versioned
    assert versioned["system_fingerprint"].startswith("b") == (dialect == "llama-server")


@pytest.mark.parametrize(("dialect", "status"), [("openai", 404), ("llama-server", 200)])
async def test_the_dialect_decides_about_unknown_models(dialect: str, status: int) -> None:
    async with client_for(ScriptedService(reads), dialect=dialect) as client:
        response = await client.post("/v1/completions", json={"model": "gpt-3.5", "prompt": "Hi"})
    assert response.status_code == status


async def test_a_full_context_is_told_in_numbers() -> None:
    def refuses(request: Generate) -> list[Step]:
        return [error_failure(request.id, ContextLengthExceeded("too long", n_prompt=300, n_ctx=256))]

    async with client_for(ScriptedService(refuses), dialect="llama-server") as client:
        response = await client.post("/completion", json={"prompt": "Hi"})
    error = response.json()["error"]
    assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == (
        "exceed_context_size_error",
        300,
        256,
    )
    assert (response.status_code, error["code"], error["reason"]) == (400, 400, "context_length_exceeded")
    assert "exceeds the available context size" in error["message"]


async def test_a_chats_first_chunk_and_a_missing_key_in_the_dialect() -> None:
    chat = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "timings_per_token": True}
    settings: dict[str, Any] = {"dialect": "llama-server", "api_keys": ["k"]}
    async with client_for(ScriptedService(reads), **settings) as client:
        refused = await client.post("/completion", json={"prompt": "Hi"})
        streamed = await client.post("/chat/completions", json=chat, headers={"Authorization": "Bearer k"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    first, second, *_ = events_of(streamed.text)
    assert "timings" not in first
    assert "timings" in second
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None}


async def test_a_verbose_chat_tells_its_prompt_and_the_tokens_are_counted() -> None:
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
    async with client_for(ScriptedService(reads)) as client:
        told = (await client.post("/v1/chat/completions", json=chat | {"verbose": True})).json()
        counted = await client.post("/v1/chat/completions/input_tokens", json=chat)
    assert told["__verbose"]["prompt"] == "<s> Hi"
    assert told["__verbose"]["generation_settings"]["n_predict"] == 2
    assert counted.status_code == 200
    assert counted.json().keys() == {"input_tokens"}


@pytest.mark.parametrize("stream", [False, True])
async def test_probabilities_behind_the_samplers_have_their_own_names(stream: bool) -> None:
    wish = {"prompt": "Hi", "n_probs": 2, "post_sampling_probs": True, "stream": stream}
    service = ScriptedService(says("a"))
    async with client_for(service) as client:
        response = await client.post("/completion", json=wish)
    assert service.request.after_sampling
    body = events_of(response.text)[0] if stream else response.json()
    (told,) = body["completion_probabilities"]
    assert told.keys() == {"id", "token", "bytes", "prob", "top_probs"}
    assert told["prob"] == pytest.approx(math.exp(-0.25))
    assert [each["prob"] for each in told["top_probs"]] == pytest.approx([math.exp(-0.25), math.exp(-1.25)])
