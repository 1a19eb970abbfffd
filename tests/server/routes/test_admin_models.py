"""`/admin/models` over HTTP, on a supervisor whose workers are processes that follow a script."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from server.app import create_app
from server.config import ServerConfig
from server.http.parts import AppParts
from server.supervisor.life import LifeSettings
from server.supervisor.lives import ModelLives
from server.supervisor.supervisor import Supervisor
from tests.server.http_client import TEXT, client_for, error_of
from tests.server.supervisor.conftest import (
    QUICK,
    MakeSupervisor,
    WriteScript,
    script,  # noqa: F401 - a fixture
    supervise,  # noqa: F401 - a fixture
)
from tests.server.supervisor.test_supervisor import until


def client_of(supervisor: Supervisor) -> httpx.AsyncClient:
    app = create_app(ServerConfig(), supervisor, AppParts(lives=ModelLives(supervisor)))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://corral")


async def lives_of(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    listed = (await client.get("/admin/models")).json()
    assert listed["object"] == "list"
    return {life["id"]: life for life in listed["data"]}


async def complete(client: httpx.AsyncClient, **fields: Any) -> None:
    body = {**TEXT, "model": "one", "prompt": "tokens 1 0", **fields}
    response = await client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text


async def test_a_life(supervise: MakeSupervisor, script: WriteScript) -> None:  # noqa: F811
    supervisor = supervise(
        stored=(script("org/one"), script("org/one", "Q4_K_M"), script("two")),
        policy=replace(QUICK, lives=LifeSettings(priorities={"two": 3})),
    )
    async with client_of(supervisor) as client:
        before = await lives_of(client)
        assert list(before) == ["org/one", "org/one:Q8_0", "two"]
        assert before["two"]["priority"] == 3
        one = before["org/one"]
        assert (one["type"], one["state"], one["n_running"], one["pinned"]) == (
            "Q4_K_M",
            "available",
            0,
            False,
        )
        assert one["memory_bytes"] is one["idle_s"] is one["last_used"] is one["load_s"] is None
        assert one["fits"] is None  # a script is no model's file

        loaded = (await client.post("/admin/models/org/one/load", json={"keep_alive": "5m"})).json()
        assert (loaded["id"], loaded["state"], loaded["keep_alive_s"]) == ("org/one", "ready", 300.0)
        assert loaded["memory_bytes"] > 1_000_000
        assert 0 <= loaded["idle_s"] < 5
        assert loaded["fits"] is True
        assert 290 < loaded["unloads_at"] - time.time() <= 300
        assert abs(loaded["last_used"] - time.time()) < 5
        assert loaded["load_s"] > 0
        assert loaded["context_length"] == 4096

        pinned = (await client.post("/admin/models/org%2Fone/pin")).json()
        assert (pinned["pinned"], pinned["keep_alive_s"], pinned["unloads_at"]) == (True, None, None)
        assert (await client.get("/admin/models/org/one")).json()["pinned"] is True
        unpinned = (await client.post("/admin/models/org/one:q4_k_m/unpin")).json()
        assert (unpinned["pinned"], unpinned["keep_alive_s"]) == (False, 300.0)

        gone = (await client.post("/admin/models/org/one/unload")).json()
        assert (gone["state"], gone["memory_bytes"], gone["keep_alive_s"]) == ("available", None, None)
        assert supervisor.pids == {}
        again = await client.post("/admin/models/org/one/unload")
        assert again.status_code == 200, "what is unloaded already is unloaded"


async def test_a_request_says_how_long_the_model_stays(
    supervise: MakeSupervisor,  # noqa: F811
    script: WriteScript,  # noqa: F811
) -> None:
    supervisor = supervise(stored=(script(),))
    async with client_of(supervisor) as client:
        await complete(client, keep_alive="1h")
        assert (await lives_of(client))["one"]["keep_alive_s"] == 3600
        await complete(client)
        assert (await lives_of(client))["one"]["keep_alive_s"] == 3600
        await complete(client, keep_alive=-1)
        assert (await lives_of(client))["one"]["keep_alive_s"] is None
        await complete(client, keep_alive=0)
        await until(lambda: not supervisor.pids)
        bad_times: tuple[Any, ...] = ("soon", [], True, {"s": 3})
        for bad in bad_times:
            refused = await client.post("/v1/completions", json={**TEXT, "model": "one", "keep_alive": bad})
            assert error_of(refused)["param"] == "keep_alive"


async def test_loading_without_waiting_and_pinning_at_once(
    supervise: MakeSupervisor,  # noqa: F811
    script: WriteScript,  # noqa: F811
) -> None:
    supervisor = supervise(stored=(script(load_s=0.3),), policy=replace(QUICK, load_wait_s=120.0))
    async with client_of(supervisor) as client:
        begun = (await client.post("/admin/models/one/load", json={"wait": False, "pin": True})).json()
        assert (begun["state"], begun["pinned"]) == ("loading", True)
        loaded = await client.post("/admin/models/one/load")
        assert loaded.status_code == 200, loaded.text
        done = loaded.json()
        assert (done["state"], done["pinned"]) == ("ready", True)
        assert len(supervisor.pids) == 1


async def test_unloading_by_force_ends_what_runs(
    supervise: MakeSupervisor,  # noqa: F811
    script: WriteScript,  # noqa: F811
) -> None:
    supervisor = supervise(stored=(script(),), policy=replace(QUICK, exit_wait_s=0.1))
    async with client_of(supervisor) as client:
        running = asyncio.create_task(
            client.post("/v1/completions", json={**TEXT, "model": "one", "prompt": "tokens 1000 0.05"})
        )
        await until(lambda: supervisor.host("one").n_running > 0)
        assert (await lives_of(client))["one"]["n_running"] == 1
        gone = await client.post("/admin/models/one/unload", json={"force": True})
        assert gone.json()["state"] == "available"
        assert (await running).status_code == 500


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("GET", "/admin/models/four", None, 404, "model"),
        ("POST", "/admin/models/four/load", None, 404, "model"),
        ("POST", "/admin/models/four/unload", {}, 404, "model"),
        ("POST", "/admin/models/one:Q2_K/pin", None, 404, "model"),
        ("POST", "/admin/models/one/load", {"keep_alive": "x"}, 400, "keep_alive"),
        ("POST", "/admin/models/one/load", {"pinned": True}, 400, "pinned"),
        ("POST", "/admin/models/one/load", {"wait": False, "keep_alive": 5, "pin": True}, 400, "wait"),
        ("POST", "/admin/models/one/unload", {"force": "yes"}, 400, "force"),
        ("POST", "/admin/models/one/melt", None, 405, None),
    ],
)
async def test_what_is_refused(
    supervise: MakeSupervisor,  # noqa: F811
    script: WriteScript,  # noqa: F811
    method: str,
    path: str,
    body: Any,
    status: int,
    param: str | None,
) -> None:
    async with client_of(supervise(stored=(script(),))) as client:
        refused = await client.request(method, path, json=body)
        assert refused.status_code == status, refused.text
        assert refused.json()["error"]["param"] == param
        assert not any(life["pinned"] for life in (await lives_of(client)).values()), "nothing was done"


async def test_a_model_that_does_not_load_says_why(supervise: MakeSupervisor, script: WriteScript) -> None:  # noqa: F811
    async with client_of(supervise(stored=(script(load="refuse"),))) as client:
        refused = await client.post("/admin/models/one/load")
        assert refused.status_code == 500
        assert "the file is no GGUF" in refused.json()["error"]["message"]
        assert "the file is no GGUF" in (await lives_of(client))["one"]["problem"]


async def test_a_server_without_lives_says_so() -> None:
    async with client_for() as client:
        assert error_of(await client.get("/admin/models"))["code"] == "unsupported"
