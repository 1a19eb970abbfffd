"""Every route × every scope × no key, wrong key, expired key, other model, made of the app's own routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.app import application_routes, create_app
from server.config import ServerConfig
from server.http.parts import AppParts
from server.http.route_scopes import route_scope
from server.keys.caller import ALL_MODELS, ALL_SCOPES, KeyLimits, KeyScope
from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.adapters.service import AdapterService
from server.usage.accounts import Accounts
from tests.server.http.route_cases import NAMES_A_MODEL, NAMES_NONE
from tests.server.scripted_service import ScriptedService

Route = tuple[str, str]


def routes() -> Iterator[Route]:
    for route in application_routes(create_app(ServerConfig(), ScriptedService())):
        for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, route.path


ROUTES = sorted(set(routes()))


def line(route: Route) -> str:
    return f"{route[0]} {route[1].removeprefix('/v1')}"


class Server:
    """An application that asks for keys: one for each scope, one that has expired, one for other models."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        file = KeyFile(folder / "keys.json", lambda: self.now)
        self.keys = {scope: self._key(file, scope, (scope,)) for scope in ALL_SCOPES}
        self.expired = self._key(file, "expired", ALL_SCOPES, expires=1500)
        self.others = self._key(file, "others", ALL_SCOPES, models=("other/*",))
        self.now = 2000.0
        ring = KeyRing((), file, lambda: self.now)
        service = ScriptedService()
        adapters = AdapterService(_NoWorkers(), AdapterRegistry())
        app = create_app(ServerConfig(), service, AppParts(adapters=adapters, accounts=Accounts(ring)))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://corral")

    @staticmethod
    def _key(
        file: KeyFile,
        name: str,
        scopes: tuple[KeyScope, ...],
        models: tuple[str, ...] = ALL_MODELS,
        expires: int | None = None,
    ) -> str:
        return file.add(name, scopes, models, KeyLimits(), expires)[1]

    async def status(self, route: Route, key: str | None) -> tuple[int, str | None]:
        """Send a request that names the model `demo`; return its status, and the error's code or type."""
        method, path = route
        filled = re.sub(r"{model:path}", "demo", path)
        filled = re.sub(r"{adapter_id}", "1", filled)
        filled = re.sub(r"{\w+(:\w+)?}", "x", filled)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        sent: dict[str, Any] = NAMES_A_MODEL.get(line(route), {})
        response = await self.client.request(method, filled, headers=headers, **sent)
        if response.status_code < 400:
            return response.status_code, None
        error = response.json()["error"]
        if isinstance(error, str):  # Ollama's form has nothing but words
            return response.status_code, "words"
        if "code" not in error:  # Anthropic's form
            return response.status_code, error["type"]
        return response.status_code, error["code"]


class _NoWorkers:
    def base_of(self, name: str) -> Any:
        raise NotImplementedError

    async def broadcast(self, model: str, message: Any) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("keys"))


def test_every_route_is_in_the_table() -> None:
    known = {*NAMES_A_MODEL, *NAMES_NONE}
    assert sorted({line(route) for route in ROUTES} - known) == []
    assert sorted(known - {line(route) for route in ROUTES}) == []
    assert not NAMES_NONE & NAMES_A_MODEL.keys()


def has_only_words(route: Route) -> bool:
    """True for protocols whose errors have no code."""
    return route[1].startswith(("/api/", "/v2/models/", "/v2/health/"))


def expected_refusal(route: Route, scope: str) -> tuple[int, str] | None:
    """What a request must get from the keys alone; None: it passes them."""
    is_messages = route[1].startswith("/v1/messages")
    wanted = route_scope(*route)
    if wanted == "by_body":
        wanted = "infer"  # the request of `route_cases` is a chat
    if wanted in ("open", scope):
        return None
    if has_only_words(route):
        return 403 if scope in ALL_SCOPES else 401, "words"
    if scope in ALL_SCOPES:
        return 403, "permission_error" if is_messages else "insufficient_scope"
    return 401, "authentication_error" if is_messages else "invalid_api_key"


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
async def test_the_table(server: Server, route: Route) -> None:
    cases: dict[str, str | None] = {
        "none": None,
        "wrong": "sk-corral-x",
        "expired": server.expired,
    }
    cases.update({str(scope): key for scope, key in server.keys.items()})
    for scope, key in cases.items():
        found = await server.status(route, key)
        expected = expected_refusal(route, scope)
        if expected is None:
            assert found[0] not in (401, 403), f"{scope}: {found}"
        else:
            assert found == expected, scope


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
async def test_another_model(server: Server, route: Route) -> None:
    found = await server.status(route, server.others)
    if line(route) in NAMES_NONE:
        assert found[0] not in (401, 403)
    elif route[1].startswith("/v1/messages"):
        assert found == (403, "permission_error")
    elif has_only_words(route):
        assert found == (403, "words")
    else:
        assert found == (403, "model_not_allowed")


async def test_a_path_that_is_no_route_and_a_method_that_is_none(server: Server) -> None:
    for method, path in (("GET", "/nothing"), ("PUT", "/v1/models"), ("OPTIONS", "/v1/models")):
        assert (await server.client.request(method, path)).status_code == 401
        headers = {"authorization": f"Bearer {server.keys['metrics']}"}
        response = await server.client.request(method, path, headers=headers)
        assert response.status_code in (404, 405, 204)
    assert (await server.client.put("/health")).status_code == 405
    assert (await server.client.head("/v1/models")).status_code == 401
    assert (await server.client.head("/health")).status_code == 200
