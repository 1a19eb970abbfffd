"""Presets through the whole application: what the model gets, what the client sees, what is counted."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from server.batches.line_call import LineCaller
from server.config_sources import load_config
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from tests.server.http_client import app_for, error_of, events_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService, says

SETTINGS = """
[presets.gpt-4o-mini]
model = "demo"

[presets."chat:precise"]
model = "gpt-4o-mini"
system = "Be precise."
strip = ["seed"]
force = { temperature = 0 }
default = { max_tokens = 2, keep_alive = "10m" }

[presets.mix]
description = "Two models."
arms = [
  { name = "demo", model = "demo", weight = 90 },
  { name = "other", model = "lmsys/vicuna-7b-v1.5", weight = 10, force = { top_k = 7 } },
]
"""

USER = [{"role": "user", "content": "Hi"}]


class Recording(ScriptedService):
    """Notes which model got which request."""

    def __init__(self) -> None:
        super().__init__(says("Yes", " it", " is"), models=[DEMO, IDLE])
        self.got: list[tuple[str, Any]] = []

    def generate(self, name: str, request: Any) -> Any:
        self.got.append((name, request))
        return super().generate(name, request)


@pytest.fixture
def service() -> Recording:
    return Recording()


@pytest.fixture
def app(service: Recording, tmp_path: Path) -> FastAPI:
    path = tmp_path / "corral.toml"
    path.write_text(SETTINGS)
    return app_for(service, presets=load_config({}, {}, path).presets)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://corral")


ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": USER}),
    ("/v1/responses", {"input": "Hi"}),
    ("/v1/messages", {"messages": USER, "max_tokens": 2}),
    ("/v1/completions", {"prompt": "Hi"}),
    ("/completion", {"prompt": "Hi"}),
    ("/infill", {"input_prefix": "a", "input_suffix": "b"}),
]


@pytest.mark.parametrize(("route", "body"), ROUTES)
async def test_every_protocol_answers_by_the_asked_name_as_the_preset_has_it(
    app: FastAPI, service: Recording, route: str, body: dict[str, Any]
) -> None:
    async with client_of(app) as client:
        answer = await client.post(
            route, json=body | {"model": "chat:precise", "temperature": 1.5, "seed": 3, "user": "u"}
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "chat:precise"
    ((model, generate),) = service.got
    assert isinstance(generate, Generate)
    assert model == "demo"
    assert (generate.params.temperature, generate.params.seed, generate.params.max_tokens) == (0.0, None, 2)
    assert generate.keep_alive_s == 600
    if isinstance(generate.prompt, ChatPrompt):
        assert generate.prompt.messages[0] == {"role": "system", "content": "Be precise."}


async def test_a_stream_has_the_asked_name_and_a_client_may_say_what_is_a_default(
    app: FastAPI, service: Recording
) -> None:
    body = {"model": "chat:precise", "messages": USER, "stream": True, "max_completion_tokens": 3}
    async with client_of(app) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert {event["model"] for event in events_of(answer.text)[:-1]} == {"chat:precise"}
    assert service.got[0][1].params.max_tokens == 3


async def test_a_large_body_is_read_elsewhere_by_the_same_preset(app: FastAPI, service: Recording) -> None:
    long = "word " * 40_000
    body = {"model": "mix", "user": "u", "messages": [{"role": "user", "content": long}]}
    async with client_of(app) as client:
        small = await client.post("/v1/chat/completions", json=body | {"messages": USER})
        large = await client.post("/v1/chat/completions", json=body)
    assert (small.status_code, large.status_code) == (200, 200)
    (one, first), (other, second) = service.got
    assert one == other
    assert first.params == second.params


async def test_two_thousand_requests_are_spread_by_weight_and_each_user_stays(
    app: FastAPI, service: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "corral.access")
    call = LineCaller(app)

    async def arms(users: range) -> list[str]:
        service.got.clear()
        for user in users:
            body = b'{"model": "mix", "prompt": "", "user": "u%d"}' % user
            assert (await call("", "/v1/completions", body)).status == 200
        return [name for name, _ in service.got]

    first = await arms(range(2_000))
    assert Counter(first)["demo"] == pytest.approx(1_800, abs=50)
    assert await arms(range(0, 2_000, 25)) == first[::25]


async def test_the_arm_is_in_the_log(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "corral"):
        async with client_of(app) as client:
            await client.post("/v1/completions", json={"model": "mix", "prompt": "", "user": "u"})
            await client.post(
                "/v1/completions", json={"model": "chat:precise", "prompt": "", "temperature": 1}
            )
    lines = [record.getMessage() for record in caplog.records]
    assert any("model=mix arm=mix/" in line for line in lines)
    assert any(
        "has its own 'temperature' in place of the client's (/v1/completions)" in line for line in lines
    )
    assert any("sets 'system', for which a request here has no place" in line for line in lines)


async def test_the_list_of_models_has_presets_and_their_arms(app: FastAPI) -> None:
    async with client_of(app) as client:
        models = {model["id"]: model for model in (await client.get("/v1/models")).json()["data"]}
        one = (await client.get("/v1/models/chat:precise")).json()
        claude = (await client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).json()
    assert models["demo"]["aliases"] == ["gpt-4o-mini", "chat:precise", "mix"]
    assert models["demo"]["parent"] is None
    assert one == models["chat:precise"]
    assert (one["parent"], one["aliases"], one["context_length"]) == ("demo", [], 2048)
    mix = models["mix"]
    assert mix["description"] == "Two models."
    assert mix["arms"] == [
        {"name": "demo", "model": "demo", "share": 0.9},
        {"name": "other", "model": IDLE.name, "share": 0.1},
    ]
    assert mix["context_length"] == 2048  # the shortest of all arms'
    assert [model["id"] for model in claude["data"]] == [
        "demo",
        IDLE.name,
        "gpt-4o-mini",
        "chat:precise",
        "mix",
    ]


async def test_questions_about_a_preset_are_about_its_model(app: FastAPI) -> None:
    async with client_of(app) as client:
        props = (await client.get("/props", params={"model": "chat:precise"})).json()
        tokens = await client.post("/tokenize", json={"model": "mix", "content": "Hi", "user": "u"})
        count = {"model": "chat:precise", "messages": USER}
        counted = await client.post("/v1/chat/completions/input_tokens", json=count)
        slots = await client.get("/slots", params={"model": "gpt-4o-mini"})
    assert props["model_alias"] == "chat:precise"
    assert [each.status_code for each in (tokens, counted, slots)] == [200, 200, 200]


async def test_a_body_that_only_a_lenient_reader_takes_gets_around_no_preset(app: FastAPI) -> None:
    body = b'{"model": "chat:precise", "prompt": "", "temperature": 1.5, "unknown": NaN}'
    async with client_of(app) as client:
        answer = await client.post("/v1/completions", content=body)
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "invalid_json"


async def test_a_preset_whose_model_is_gone_is_a_404_that_names_it(app: FastAPI, service: Recording) -> None:
    service.statuses[:] = [IDLE]
    async with client_of(app) as client:
        answer = await client.post("/v1/completions", json={"model": "gpt-4o-mini", "prompt": ""})
        listed = (await client.get("/v1/models")).json()["data"]
    assert answer.status_code == 404
    assert "demo" in error_of(answer)["message"]
    assert [model["id"] for model in listed] == [IDLE.name]


async def test_without_presets_nothing_is_parsed_twice() -> None:
    service = Recording()
    async with client_of(app_for(service)) as client:
        answer = await client.post("/v1/completions", content=json.dumps({"model": "demo", "prompt": "Hi"}))
    assert answer.json()["model"] == "demo"


@pytest.mark.parametrize("named", [{}, {"model": None}, {"model": ""}, {"model": "demo"}])
@pytest.mark.parametrize(("route", "body"), ROUTES)
async def test_a_preset_that_hides_the_default_model_has_the_requests_that_name_none(
    service: Recording, tmp_path: Path, route: str, body: dict[str, Any], named: dict[str, Any]
) -> None:
    path = tmp_path / "corral.toml"
    path.write_text(
        '[presets.demo]\nmodel = "lmsys/vicuna-7b-v1.5"\nsystem = "Brief."\nforce = { temperature = 0 }\n'
    )
    async with client_of(app_for(service, presets=load_config({}, {}, path).presets)) as client:
        answer = await client.post(route, json=body | named | {"temperature": 1.5})
    assert answer.json()["model"] == "demo"
    ((model, generate),) = service.got
    assert (model, generate.params.temperature) == ("lmsys/vicuna-7b-v1.5", 0.0)


async def test_a_preset_without_layers_that_hides_the_default_model_is_an_alias(
    service: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "corral.toml"
    path.write_text('[presets]\ndemo = "lmsys/vicuna-7b-v1.5"\n')
    async with client_of(app_for(service, presets=load_config({}, {}, path).presets)) as client:
        for body in ({"input": "Hi"}, {"input": "Hi", "model": "demo"}):
            answer = (await client.post("/v1/responses", json=body)).json()
            assert answer["model"] == "demo"
    assert [model for model, _ in service.got] == ["lmsys/vicuna-7b-v1.5"] * 2


async def test_a_session_in_a_header_stays_with_one_arm(app: FastAPI, service: Recording) -> None:
    """Where the body names no user; else the user counts, whatever the header says."""
    models: dict[str, set[str]] = {}
    async with client_of(app) as client:
        for number in range(60):
            session = f"session {number % 20}"
            body = {"model": "mix", "messages": USER, **({"user": session} if number >= 40 else {})}
            header = session if number < 40 else "another"
            answer = await client.post("/v1/chat/completions", json=body, headers={"X-Session-Id": header})
            assert answer.status_code == 200
            models.setdefault(session, set()).add(service.got[-1][0])
    assert {len(each) for each in models.values()} == {1}
    assert len(set.union(*models.values())) == 2
