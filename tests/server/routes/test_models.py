from __future__ import annotations

import msgspec
import pytest

from tests.server.http_client import client_for, error_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/"])
async def test_list(path: str) -> None:
    async with client_for(ScriptedService(models=[DEMO, IDLE])) as client:
        body = (await client.get(path)).json()
    assert body["object"] == "list"
    first, second = body["data"]
    assert first["id"] == "demo"
    assert first["object"] == "model"
    assert first["created"] == 1_700_000_000
    assert first["owned_by"] == "corral"
    assert first["meta"] == {
        "n_vocab": 4096,
        "n_ctx": 2048,
        "n_ctx_train": 4096,
        "n_embd": 256,
        "n_params": 7_300_000,
        "size": 14_600_000,
        "ftype": "Q4_K_M",
    }
    assert first["status"]["value"] == "ready"
    assert second["meta"] == {"n_ctx": 4096}
    for model, n_ctx in ((first, 2048), (second, 4096)):
        assert model["context_length"] == model["max_model_len"] == model["meta"]["n_ctx"] == n_ctx
    assert second["status"]["value"] == "available"


async def test_an_adapter_names_the_model_that_it_belongs_to() -> None:
    style = msgspec.structs.replace(DEMO, name="demo:style", parent="demo")
    async with client_for(ScriptedService(models=[DEMO, style])) as client:
        listed = (await client.get("/v1/models")).json()["data"]
    assert [(each["id"], each["parent"]) for each in listed] == [("demo", None), ("demo:style", "demo")]


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("name", ["demo", "demo:Q4_K_M", "lmsys/vicuna-7b-v1.5", "lmsys%2Fvicuna-7b-v1.5"])
async def test_one(prefix: str, name: str) -> None:
    async with client_for(ScriptedService(models=[DEMO, IDLE])) as client:
        response = await client.get(f"{prefix}/models/{name}")
    assert response.status_code == 200
    assert response.json()["id"] == name.replace("%2F", "/")


async def test_none_by_that_name() -> None:
    async with client_for() as client:
        response = await client.get("/v1/models/org/none")
    assert response.status_code == 404
    error = error_of(response)
    assert error["code"] == "model_not_found"
    assert error["message"] == "The model `org/none` does not exist; GET /v1/models lists those that do"
