"""`/admin/adapters` and `/lora-adapters` over HTTP, on a service whose workers are a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from models.doctor.tiny_model import write_tiny_gguf
from models.errors import ModelNotFound
from server.app import create_app
from server.config import ServerConfig
from server.http.parts import AppParts
from server.ipc.messages import LoadAdapter
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.adapters.service import AdapterMessage, AdapterService
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.protocol import ModelStatus
from tests.adapter_gguf import write_adapter_gguf
from tests.server.http_client import client_for, error_of
from tests.server.scripted_service import DEMO, ScriptedService


class Service(ScriptedService):
    """Serves `demo` from a tiny model's file, with adapters; its worker loads whatever it is told to."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self.entry = CatalogueEntry("demo", base, "Q4_K_M", 1, 1)
        self.registry = AdapterRegistry()
        self.told: list[str] = []

    def find(self, name: str) -> ModelStatus:
        model, _, adapter = name.rpartition(":")
        if self.registry.find(model, adapter) is not None:
            return msgspec.structs.replace(DEMO, name=name, parent=model)
        return super().find(name)

    def base_of(self, name: str) -> CatalogueEntry:
        if self.find(name).name.split(":")[0] != "demo":
            raise ModelNotFound(name)
        return self.entry

    async def broadcast(self, model: str, message: Callable[[str], AdapterMessage]) -> None:
        told = message("call")
        self.told.append(
            f"load {told.adapter.id}" if isinstance(told, LoadAdapter) else f"unload {told.adapter_id}"
        )


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(write_tiny_gguf(tmp_path / "demo.gguf"))


@pytest_asyncio.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(ServerConfig(), service, AppParts(adapters=AdapterService(service, service.registry)))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as made:
        yield made


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    return str(write_adapter_gguf(tmp_path / "style.gguf", alpha=8.0))


async def test_from_loading_to_unloading(client: httpx.AsyncClient, service: Service, adapter: str) -> None:
    assert (await client.get("/admin/adapters")).json() == {"object": "list", "data": []}
    response = await client.post("/admin/adapters", json={"path": adapter})
    assert response.status_code == 200
    made = response.json()
    assert made.pop("created") > 1_700_000_000
    assert made.pop("size_bytes") > 100_000
    assert made == {
        "id": 0,
        "object": "adapter",
        "name": "style",
        "model": "demo",
        "path": adapter,
        "scale": 0.0,
        "alpha": 8.0,
        "rank": 4,
    }
    second = {"path": adapter, "model": "demo:Q4_K_M", "name": "tone", "scale": 0.5}
    assert (await client.post("/admin/adapters", json=second)).json()["id"] == 1
    listed = (await client.get("/admin/adapters", params={"model": "demo"})).json()["data"]
    assert [(found["id"], found["name"], found["scale"]) for found in listed] == [
        (0, "style", 0.0),
        (1, "tone", 0.5),
    ]
    assert (await client.get("/admin/adapters/1")).json()["name"] == "tone"
    removed = await client.delete("/admin/adapters/0")
    assert removed.json() == {"id": 0, "object": "adapter", "deleted": True}
    assert service.told == ["load 0", "load 0", "load 1", "load 1", "unload 0"]
    for gone in (await client.get("/admin/adapters/0"), await client.delete("/admin/adapters/0")):
        assert gone.status_code == 404
        assert error_of(gone)["code"] == "adapter_not_found"


async def test_models_are_listed_with_each_of_their_adapters(client: httpx.AsyncClient, adapter: str) -> None:
    await client.post("/admin/adapters", json={"path": adapter})
    data = (await client.get("/v1/models")).json()["data"]
    assert [(model["id"], model["parent"]) for model in data] == [("demo", None), ("demo:style", "demo")]
    one = (await client.get("/v1/models/demo:style")).json()
    assert (one["id"], one["parent"], one["object"]) == ("demo:style", "demo", "model")
    # a request may still leave the model out
    assert (await client.post("/v1/completions", json={"prompt": "Hi"})).json()["model"] == "demo"


async def test_default_scales_as_llama_server_has_them(client: httpx.AsyncClient, adapter: str) -> None:
    for name in ("a", "b"):
        await client.post("/admin/adapters", json={"path": adapter, "name": name, "scale": 1})
    assert (await client.post("/lora-adapters", json=[{"id": 1, "scale": 0.5}])).json() == {"success": True}
    assert (await client.get("/lora-adapters")).json() == [
        {"id": 0, "name": "a", "path": adapter, "scale": 0.0},
        {"id": 1, "name": "b", "path": adapter, "scale": 0.5},
    ]
    refused = await client.post("/lora-adapters", json=[{"id": 9, "scale": 0.5}])
    assert (refused.status_code, error_of(refused)["param"]) == (400, "id")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "path"),
        ({"path": ""}, 400, "path"),
        ({"path": 7}, 400, "path"),
        ({"path": "/none.gguf"}, 400, "path"),
        ({"path": "/etc/passwd"}, 400, "path"),
        ({"path": "x.gguf", "scale": "1"}, 400, "scale"),
        ({"path": "x.gguf", "scale": 1e9}, 400, "scale"),
        ({"path": "x.gguf", "scales": 1}, 400, "scales"),
        ({"path": "x.gguf", "model": "none"}, 404, "model"),
        ([], 400, None),
    ],
)
async def test_bad_bodies(body: Any, status: int, param: str | None, client: httpx.AsyncClient) -> None:
    response = await client.post("/admin/adapters", json=body)
    assert response.status_code == status
    assert error_of(response)["param"] == param


@pytest.mark.parametrize("body", [{"id": 0, "scale": 1}, [{"id": 0}], [{"id": -1, "scale": 1}], [7]])
async def test_bad_scales(body: Any, client: httpx.AsyncClient) -> None:
    assert (await client.post("/lora-adapters", json=body)).status_code == 400


async def test_a_wrong_id(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/admin/adapters/x")).status_code == 400


async def test_without_adapters_there_are_none() -> None:
    async with client_for() as client:
        assert (await client.get("/admin/adapters")).status_code == 400
        assert len((await client.get("/v1/models")).json()["data"]) == 1


async def test_keys_are_asked_for() -> None:
    async with client_for(api_keys=["secret"]) as client:
        for method, path in (
            ("GET", "/admin/adapters"),
            ("POST", "/admin/adapters"),
            ("DELETE", "/admin/adapters/0"),
            ("POST", "/lora-adapters"),
        ):
            assert (await client.request(method, path)).status_code == 401
