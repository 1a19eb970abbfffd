"""`/admin/models/pull` and `/admin/jobs` over HTTP, with jobs whose processes follow a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server.app import create_app
from server.config import ServerConfig
from server.http.parts import AppParts
from tests.server.http_client import client_for, error_of
from tests.server.jobs.test_table import TELLS, scripted
from tests.server.scripted_service import ScriptedService


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(ServerConfig(), ScriptedService(), AppParts(jobs=scripted(TELLS)))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as made:
        yield made


def events_in(text: str) -> list[tuple[str, str, Any]]:
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return events


async def test_a_pull_is_followed_to_its_end(client: httpx.AsyncClient) -> None:
    begun = await client.post("/admin/models/pull", json={"model": "org/one", "types": ["q8_0", "4bit"]})
    assert begun.status_code == 202
    job = begun.json()
    assert (job["object"], job["state"], job["types"]) == ("job", "running", ["Q8_0", "Q4_K_M"])
    followed = await client.get(f"/admin/jobs/{job['id']}/events")
    assert followed.headers["content-type"].startswith("text/event-stream")
    events = events_in(followed.text)
    assert [name for _, name, _ in events] == ["progress"] * 4 + ["done"]
    rest = await client.get(f"/admin/jobs/{job['id']}/events", headers={"Last-Event-ID": events[2][0]})
    assert events_in(rest.text) == events[3:]
    assert (await client.get(f"/admin/jobs/{job['id']}")).json()["state"] == "done"
    assert [one["id"] for one in (await client.get("/admin/jobs")).json()["data"]] == [job["id"]]
    assert (await client.post(f"/admin/jobs/{job['id']}/cancel")).json()["state"] == "done"


async def test_the_answer_may_be_the_events(client: httpx.AsyncClient) -> None:
    streamed = await client.post("/admin/models/pull", json={"model": "org/one", "stream": True})
    assert events_in(streamed.text)[-1][1] == "done"


async def test_comments_fill_a_silence() -> None:
    slow = "import time as clock\nclock.sleep(0.5)\n" + TELLS
    app = create_app(ServerConfig(sse_comment_s=0.05), ScriptedService(), AppParts(jobs=scripted(slow)))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as client:
        streamed = await client.post("/admin/models/pull", json={"model": "org/one", "stream": True})
    comments, events = streamed.text.split("id: 1\n", 1)
    assert set(comments.splitlines()) == {": keep-alive"}
    assert events_in("id: 1\n" + events.replace(": keep-alive\n", ""))[-1][1] == "done"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"model": "/etc"}, "model"),
        ({"model": "org/one", "types": ["Q99"]}, "types"),
        ({"model": "org/one", "kind": "melt"}, "kind"),
        ({"model": "org/one", "force": True}, "force"),
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    refused = await client.post("/admin/models/pull", json=body)
    assert (refused.status_code, error_of(refused)["param"]) == (400, param)


async def test_no_such_job_and_no_jobs_at_all(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", "x"), ("GET", "x/events"), ("POST", "x/cancel")):
        assert (await client.request(method, f"/admin/jobs/{path}")).status_code == 404
    begun = (await client.post("/admin/models/pull", json={"model": "org/one"})).json()
    wrong = await client.get(f"/admin/jobs/{begun['id']}/events", headers={"Last-Event-ID": "x"})
    assert error_of(wrong)["param"] == "last-event-id"
    assert events_in((await client.get(f"/admin/jobs/{begun['id']}/events")).text)[-1][1] == "done"
    async with client_for() as other:
        assert error_of(await other.get("/admin/jobs"))["code"] == "unsupported"
