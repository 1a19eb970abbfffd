"""`POST /admin/reload`."""

from __future__ import annotations

import httpx

from models.errors import ConfigError
from tests.server.http_client import app_for, client_for, error_of


async def presets() -> tuple[str, ...]:
    return ("fast is new",)


async def certificate() -> tuple[str, ...]:
    raise ConfigError("cert.pem: no such file")


def client(**parts: object) -> httpx.AsyncClient:
    app = app_for()
    for name, reload in parts.items():
        app.state.api.reloads.add(name, reload)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://corral")


async def test_it_tells_what_has_changed() -> None:
    async with client(presets=presets) as asking:
        answer = await asking.post("/admin/reload")
    assert answer.json() == {
        "object": "reload",
        "parts": [{"name": "presets", "changes": ["fast is new"]}],
    }


async def test_what_cannot_be_read_is_a_400_that_also_tells_what_could() -> None:
    async with client(certificate=certificate, presets=presets) as asking:
        answer = await asking.post("/admin/reload")
    assert answer.status_code == 400
    error = error_of(answer)
    assert error["code"] == "invalid_settings"
    assert error["message"] == (
        "certificate: nothing was changed: cert.pem: no such file; presets: fast is new"
    )


async def test_nothing_to_read_again_is_said() -> None:
    async with client_for() as asking:
        answer = await asking.post("/admin/reload")
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "nothing_to_reload"
