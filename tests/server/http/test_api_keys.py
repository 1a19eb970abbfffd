from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from server.app import create_app
from server.config import ServerConfig
from server.http.parts import AppParts
from server.keys.caller import KeyLimits, KeyScope
from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from server.usage.accounts import Accounts
from tests.server.http_client import CHAT, client_for, error_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService

KEYS = ("first-key", "second-key")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first-key"},
        {"authorization": "bearer second-key"},
        {"x-api-key": "second-key"},
        {"api-key": "second-key"},
        {"authorization": "Bearer  first-key "},
        {"authorization": "Bearer placeholder", "x-api-key": "second-key"},
        {"authorization": "Bearer first-key", "x-api-key": "placeholder"},
        {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": "first-key"},
        {"authorization": "", "x-api-key": "", "api-key": "first-key"},
        [("authorization", "Bearer placeholder"), ("authorization", "Bearer first-key")],
        [("authorization", "Bearer first-key"), ("authorization", "Bearer placeholder")],
        [("x-api-key", "placeholder"), ("x-api-key", "second-key")],
    ],
)
async def test_a_known_key_passes(headers: dict[str, str] | list[tuple[str, str]]) -> None:
    async with client_for(api_keys=KEYS) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Bearer first-ke"},
        {"authorization": "Bearer first-key2"},
        {"authorization": "Basic first-key"},
        {"authorization": "first-key"},
        {"x-api-key": ""},
        {"x-api-key": "third"},
        {"authorization": "Bearer third", "x-api-key": "fourth", "api-key": "first-ke"},
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/models", "/models/demo", "/tokenize", "/nothing", "/v1/chat/completions"]
)
async def test_no_or_another_key(path: str, headers: dict[str, str]) -> None:
    async with client_for(api_keys=KEYS) as client:
        response = await client.get(path, headers=headers)
    assert response.status_code == 401
    error = error_of(response)
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        None,
        "invalid_api_key",
    )
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/docs", "/openapi.json"])
async def test_open_paths(path: str) -> None:
    async with client_for(api_keys=KEYS) as client:
        assert (await client.get(path)).status_code == 200


async def test_no_keys_set_none_asked_for() -> None:
    async with client_for() as client:
        response = await client.get("/v1/models", headers={"authorization": "Bearer anything"})
    assert response.status_code == 200


class Keyed:
    """A server with named keys, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.file = KeyFile(folder / "keys.json")
        self.service = ScriptedService(models=(DEMO, IDLE))
        app = create_app(ServerConfig(), self.service, AppParts(accounts=Accounts(KeyRing((), self.file))))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://corral")

    def add(
        self, name: str, *models: str, scopes: tuple[KeyScope, ...] = ("infer", "models")
    ) -> dict[str, str]:
        """Add a key; return the header that it is sent in."""
        secret = self.file.add(name, scopes, models or ("*",), KeyLimits())[1]
        return {"authorization": f"Bearer {secret}"}


@pytest.fixture
def keyed(tmp_path: Path) -> Keyed:
    return Keyed(tmp_path)


async def test_the_first_key_closes_a_server_that_runs(keyed: Keyed) -> None:
    foreign = {"host": "page.example"}
    assert (await keyed.client.get("/v1/models")).status_code == 200
    assert (await keyed.client.get("/v1/models", headers=foreign)).status_code == 403
    bob = keyed.add("bob")
    assert (await keyed.client.get("/v1/models")).status_code == 401
    assert (await keyed.client.get("/v1/models", headers={**foreign, **bob})).status_code == 200
    keyed.file.remove("bob")
    assert (await keyed.client.get("/v1/models", headers=bob)).status_code == 401


async def test_a_key_without_the_right_is_told_which(keyed: Keyed) -> None:
    bob = keyed.add("bob", scopes=("models", "metrics"))
    response = await keyed.client.post("/v1/chat/completions", json=CHAT, headers=bob)
    assert response.status_code == 403
    assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    error = error_of(response)
    assert error["code"] == "insufficient_scope"
    assert "'infer'" in error["message"]
    assert "models, metrics" in error["message"]
    assert keyed.service.requests == []


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["demo", "lmsys/vicuna-7b-v1.5"]),
        ("demo", ["demo"]),
        ("lmsys/*", ["lmsys/vicuna-7b-v1.5"]),
        ("*:Q4_K_M", ["demo", "lmsys/vicuna-7b-v1.5"]),
        ("demo:Q4_K_M", ["demo"]),
        ("demo:Q8_0", []),
        ("dem", []),
        ("DEMO", []),
    ],
)
async def test_a_keys_models(keyed: Keyed, pattern: str, names: list[str]) -> None:
    bob = keyed.add("bob", pattern)
    response = await keyed.client.get("/v1/models", headers=bob)
    assert [model["id"] for model in response.json()["data"]] == names
    for name in ("demo", "demo:Q4_K_M", "lmsys/vicuna-7b-v1.5", "lmsys/vicuna-7b-v1.5:Q4_K_M"):
        is_allowed = name.removesuffix(":Q4_K_M") in names
        response = await keyed.client.get(f"/v1/models/{name}", headers=bob)
        assert response.status_code == (200 if is_allowed else 403)
        asked = await keyed.client.post("/v1/chat/completions", json={**CHAT, "model": name}, headers=bob)
        assert asked.status_code == (200 if is_allowed else 403)
        if not is_allowed:
            assert error_of(asked)["code"] == "model_not_allowed"
            assert error_of(asked)["param"] == "model"


async def test_a_model_that_is_nowhere_looks_like_one_that_is_forbidden(keyed: Keyed) -> None:
    bob, eve = keyed.add("bob", "demo"), keyed.add("eve")
    asked = {**CHAT, "model": "nothing"}
    assert (await keyed.client.post("/v1/chat/completions", json=asked, headers=bob)).status_code == 403
    assert (await keyed.client.post("/v1/chat/completions", json=asked, headers=eve)).status_code == 404


async def test_a_request_without_a_model_gets_one_that_its_key_may_use(keyed: Keyed) -> None:
    bob = keyed.add("bob", "lmsys/*")
    asked = {"messages": CHAT["messages"]}
    response = await keyed.client.post("/v1/chat/completions", json=asked, headers=bob)
    assert response.json()["model"] == "lmsys/vicuna-7b-v1.5"


async def test_the_document_says_which_key_an_operation_needs() -> None:
    async with client_for() as client:
        document = (await client.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"ApiKey", "ApiKeyHeader"}
    assert document["paths"]["/v1/messages"]["post"]["security"] == [
        {"ApiKey": ["infer"]},
        {"ApiKeyHeader": ["infer"]},
    ]
    assert document["paths"]["/admin/adapters"]["get"]["security"][0] == {"ApiKey": ["admin"]}
    assert "security" not in document["paths"]["/health"]["get"]
