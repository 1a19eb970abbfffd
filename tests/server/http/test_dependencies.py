"""The model of a request that names none."""

from __future__ import annotations

import msgspec
import pytest

from server.supervisor.protocol import ModelStatus
from tests.server.http_client import TEXT, client_for, error_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService

SERVED = msgspec.structs.replace(IDLE, name="org/served", served=True)
SECOND = msgspec.structs.replace(DEMO, name="org/second", served=True)
ANOTHER = msgspec.structs.replace(DEMO, name="org/another")


@pytest.mark.parametrize(
    ("models", "answers"),
    [
        ([SERVED, DEMO], "org/served"),
        ([SERVED, DEMO, ANOTHER], "org/served"),
        ([SERVED, SECOND, DEMO], "org/served"),
        ([SECOND, SERVED, IDLE], "org/second"),
        ([DEMO, IDLE], "demo"),  # none was named at the start: the one that runs
        ([IDLE], IDLE.name),
        ([DEMO, ANOTHER], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}])
async def test_models_of_the_start_come_first(
    models: list[ModelStatus], answers: str | None, model: dict[str, str | None]
) -> None:
    body = {"prompt": TEXT["prompt"], **model}
    async with client_for(ScriptedService(models=models)) as client:
        response = await client.post("/v1/completions", json=body)
    if answers is None:
        assert response.status_code == 400
        assert error_of(response)["param"] == "model"
    else:
        assert response.json()["model"] == answers
