from __future__ import annotations

import logging
import re

import pytest

from server.ipc.messages import Work
from server.metrics.origin import current_origin
from server.requests.prefix_key import prefix_key
from tests.server.http_client import CHAT, client_for
from tests.server.scripted_service import ScriptedEvents, ScriptedService


@pytest.mark.parametrize("given", ["mine", "a" * 128, "x-1_2:3/4"])
async def test_the_clients_id_is_echoed(given: str) -> None:
    async with client_for() as client:
        response = await client.get("/health", headers={"x-request-id": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "a" * 129, "with space", "tab\there", "é"])
async def test_another_is_made(given: str | None) -> None:
    headers = [] if given is None else [(b"x-request-id", given.encode())]
    async with client_for() as client:
        response = await client.get("/nothing", headers=headers)
    assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])


@pytest.mark.parametrize("stream", [False, True])
async def test_the_line_has_figures_and_no_content(caplog: pytest.LogCaptureFixture, stream: bool) -> None:
    caplog.set_level(logging.INFO, logger="corral.access")
    service = ScriptedService()
    body = {"model": "demo", "messages": [{"role": "user", "content": "A secret."}], "stream": stream}
    async with client_for(service) as client:
        await client.post("/v1/chat/completions", json=body, headers={"x-request-id": "mine"})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "corral.access"]
    head = r"POST /v1/chat/completions 200 model=demo prompt=7 cached=3 completion=2 ms=\d+ id=mine answer="
    assert re.fullmatch(head + re.escape(service.request.id), line)


async def test_a_line_stays_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="corral.access")
    async with client_for() as client:
        await client.get("/v1/models/x%0ainjected%20200")
        await client.post("/v1/chat/completions", json={**CHAT, "model": "x\ninjected"})
    lines = [record.getMessage() for record in caplog.records if record.name == "corral.access"]
    assert len(lines) == 2
    assert not any("\n" in line for line in lines)


async def test_probes_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="corral.access")
    async with client_for() as client:
        await client.get("/health")
    assert not [record for record in caplog.records if record.name == "corral.access"]


async def test_the_line_carries_its_figures_for_programs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="corral.access")
    async with client_for() as client:
        await client.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "mine"})
    (record,) = [record for record in caplog.records if record.name == "corral.access"]
    fields = record.__dict__["fields"]()
    assert fields.pop("ms") > 0
    assert fields.pop("answer_id").startswith("chatcmpl-")
    assert fields == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": "demo",
        "prompt_tokens": 7,
        "cached_tokens": 3,
        "completion_tokens": 2,
        "request_id": "mine",
    }


class Keyed(ScriptedService):
    """Tells the key of a prompt's beginning, as the services of real models do."""

    def generate(self, name: str, request: Work) -> ScriptedEvents:
        current_origin().prefix_key = prefix_key(name, request)
        return super().generate(name, request)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_prompts_key_is_told(stream: bool) -> None:
    turns = [{"role": "user", "content": "Hi"}]
    more = [*turns, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "So?"}]
    keys = []
    async with client_for(Keyed()) as client:
        for messages in (turns, more, [{"role": "user", "content": "Ho"}]):
            body = {"model": "demo", "messages": messages, "stream": stream}
            answer = await client.post("/v1/chat/completions", json=body)
            keys.append(answer.headers["x-corral-prefix"])
        assert "x-corral-prefix" not in (await client.get("/v1/models")).headers
    assert re.fullmatch("[0-9a-f]{16}", keys[0])
    assert keys[1] == keys[0] != keys[2]
