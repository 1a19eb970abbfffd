"""Web pages and a server without keys: foreign names and foreign origins change nothing and start nothing."""

from __future__ import annotations

import socket

import pytest

from tests.server.http_client import CHAT, TEXT, client_for, error_of
from tests.server.scripted_service import ScriptedService

EVIL = "https://evil.example"


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/docs", "/v1/models", "/nothing"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "EVIL.example.", "127.0.0.1.evil.example"]
)
async def test_a_foreign_name_is_refused(path: str, host: str) -> None:
    async with client_for() as client:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            response = await client.request(method, path, headers={"host": host})
            assert response.status_code == 403
        response = await client.get(path, headers={"host": host})
    error = error_of(response)
    assert error["code"] == "host_not_allowed"
    assert f"--allowed-host {host.split(':', maxsplit=1)[0].rstrip('.').lower()}" in error["message"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7", "x",
     "corral", "host.docker.internal:8000", "box.local", socket.gethostname(), "here.example"],
)  # fmt: skip
async def test_local_names_and_the_servers_own_are_answered(host: str) -> None:
    async with client_for(host="here.example") as client:
        assert (await client.get("/v1/models", headers={"host": host})).status_code == 200


async def test_allowed_names_are_answered() -> None:
    names = ("corral.example", "*.lab.example")
    async with client_for(allowed_hosts=names) as client:
        for host, status in (("corral.example:8000", 200), ("a.lab.example", 200), ("lab.example", 403)):
            assert (await client.get("/v1/models", headers={"host": host})).status_code == status
    async with client_for(allowed_hosts=("*",)) as client:
        assert (await client.get("/v1/models", headers={"host": "any.example"})).status_code == 200


async def test_where_keys_are_asked_for_names_and_origins_are_free() -> None:
    async with client_for(api_keys=("k",)) as client:
        headers = {"host": "corral.example", "origin": EVIL, "authorization": "Bearer k"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": EVIL, "content-type": "text/plain"},
        {"origin": EVIL, "content-type": "application/x-www-form-urlencoded"},
        {"origin": EVIL, "content-type": "application/json", "sec-fetch-site": "cross-site"},
        {"origin": EVIL, "sec-fetch-site": "none"},
        {"origin": "null"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
        {"origin": "file://"},
        {"origin": ""},
        {"origin": "http://corral.evil.example"},
        {"origin": "http://corral:3000"},
        {"origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
async def test_a_foreign_page_starts_nothing(headers: dict[str, str]) -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        for method, path, body in (
            ("POST", "/v1/chat/completions", CHAT),
            ("POST", "/v1/completions", TEXT),
            ("POST", "/tokenize", {"content": "x"}),
            ("POST", "/admin/adapters", {"path": "x"}),
            ("DELETE", "/admin/adapters/0", None),
            ("GET", "/tokenizer_info", None),
            ("GET", "/v1/models", None),
        ):
            response = await client.request(method, path, json=body, headers=headers)
            assert response.status_code == 403
            assert error_of(response)["code"] == "origin_not_allowed"
            assert "access-control-allow-origin" not in response.headers
    assert service.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://corral"},
        {"origin": "HTTP://CORRAL"},
        {"origin": "https://corral", "sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:5173", "sec-fetch-site": "same-origin"},  # a proxy has changed Host
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "vscode-webview://id", "sec-fetch-site": "cross-site"},
        {"origin": "chrome-extension://id", "sec-fetch-site": "none"},
        {"origin": "tauri://localhost"},
        {"origin": "https://app.example", "sec-fetch-site": "cross-site"},
    ],
)
async def test_own_pages_programs_and_named_origins_pass(headers: dict[str, str]) -> None:
    async with client_for(cors_origins=("https://App.example/",)) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert response.status_code == 200
    allowed = response.headers.get("access-control-allow-origin")
    assert allowed == ("https://app.example" if "app.example" in headers.get("origin", "") else None)


async def test_with_all_origins_named_every_page_passes() -> None:
    async with client_for(cors_origins=("*",)) as client:
        for headers in ({"origin": EVIL}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            response = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
            assert response.status_code == 200


async def test_a_link_to_a_page_is_followed() -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    async with client_for() as client:
        assert (await client.get("/docs", headers=link)).status_code == 200
        assert (await client.get("/tokenizer_info", headers=link)).status_code == 403
        assert (await client.post("/", headers=link)).status_code == 403


async def test_one_of_several_origins_is_enough_to_refuse() -> None:
    async with client_for() as client:
        headers = [("host", "corral"), ("origin", "http://corral"), ("origin", EVIL)]
        response = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert response.status_code == 403


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/nothing", "/health"])
async def test_preflights(path: str) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-private-network": "true"}
    async with client_for(cors_origins=("https://app.example",)) as client:
        own = await client.options(path, headers={"origin": "https://app.example", **asks})
        foreign = await client.options(path, headers={"origin": EVIL, **asks})
    assert own.status_code == 200
    assert own.headers["access-control-allow-origin"] == "https://app.example"
    assert own.headers["access-control-allow-private-network"] == "true"
    assert foreign.status_code == 403
    assert not [name for name in foreign.headers if name.startswith("access-control-allow")]
