"""Past the middlewares and past `send`, the same bytes reach the client."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from server.http import direct_send
from tests.server.http_client import app_for, serving

PARTS = [b"a", b"b" * 20, "né\n\n".encode()]


async def test_a_server_that_is_not_known_has_no_short_way() -> None:
    async def send(message: Message) -> None: ...

    assert direct_send.at_once(send) is None


def test_the_kept_one_is_preferred() -> None:
    async def outer(message: Message) -> None: ...
    async def inner(message: Message) -> None: ...

    scope: Scope = {}
    assert direct_send.direct_send(scope, inner) is inner
    direct_send.keep(scope, outer)
    assert direct_send.direct_send(scope, inner) is outer


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"%d" % sum(map(len, PARTS)))]])
async def test_uvicorn_is_known_and_sends_the_same(headers: list[tuple[bytes, bytes]]) -> None:
    """Where the length is told, nothing is chunked, and the short way leaves it to `send`."""
    app = app_for()
    taken: list[bool] = []

    async def body(scope: Scope, receive: Receive, send: Send) -> None:
        direct = direct_send.direct_send(scope, send)
        at_once = direct_send.at_once(direct)
        assert at_once is not None
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in PARTS:
            taken.append(at_once(part))
            if not taken[-1]:
                await direct({"type": "http.response.body", "body": part, "more_body": True})
        await direct({"type": "http.response.body", "body": b"", "more_body": False})
        assert at_once(b"late") is False

    app.mount("/parts", body)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.get("/parts/")
    assert response.content == b"".join(PARTS)
    assert response.headers["x-request-id"]
    assert taken == [not headers] * len(PARTS)
