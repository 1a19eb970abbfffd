from __future__ import annotations

import pytest

from server.supervisor.protocol import ModelStatus
from tests.server.http_client import client_for, error_of
from tests.server.scripted_service import ScriptedService


async def test_health_and_ready() -> None:
    async with client_for() as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
        ready = await client.get("/ready")
        assert (await client.head("/health")).status_code == 200
        assert (await client.head("/ready")).status_code == 200
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready"}


async def test_what_is_amiss_beside_the_models_comes_first() -> None:
    service = ScriptedService()
    service.is_ready, service.impeded_by = False, "The cluster hasn't answered for 31 s"
    async with client_for(service) as client:
        error = error_of(await client.get("/ready"))
    assert error["message"] == service.impeded_by


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (ModelStatus(name="a", state="loading", created=1, progress=0.42), "Loading model a (42%)"),
        (ModelStatus(name="a", state="restarting", created=1), "Loading model a"),
        (
            ModelStatus(name="a", state="failed", created=1, problem="no memory"),
            "Model a can't be served: no memory",
        ),
        (ModelStatus(name="a", state="available", created=1), "Loading models"),
    ],
)
async def test_not_ready_says_why(status: ModelStatus, message: str) -> None:
    service = ScriptedService(models=[status])
    service.is_ready = False
    async with client_for(service) as client:
        assert (await client.get("/health")).status_code == 200
        response = await client.get("/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    error = error_of(response)
    assert (error["message"], error["code"]) == (message, "model_loading")
