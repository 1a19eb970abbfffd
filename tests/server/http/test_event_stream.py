"""Events that are handed on by call make the same streams as events that are asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from models.errors import WorkerError
from server.engine.events import Delta, Event, Failure
from server.ipc.messages import Generate
from tests.server.http_client import CHAT, TEXT, app_for, client_for, events_of, serving
from tests.server.scripted_service import ScriptedService, Step, says


class Listened(AsyncGenerator[Event, None]):
    """A `Listenable` over an iterator."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self._events = events
        self._push: asyncio.Task[None] | None = None

    async def asend(self, _value: None) -> Event:
        assert self._push is None
        return await anext(self._events)

    async def athrow(self, *error: Any) -> Event:
        await self.aclose()
        raise error[0]

    def listen(self, listener: Callable[[Event], None]) -> None:
        async def push() -> None:
            async for event in self._events:
                listener(event)

        self._push = asyncio.create_task(push())

    async def aclose(self) -> None:
        if self._push is not None:
            self._push.cancel()
            await asyncio.gather(self._push, return_exceptions=True)
        await self._events.aclose()


class ListenedService(ScriptedService):
    def generate(self, name: str, request: Generate) -> Listened:
        events = super().generate(name, request)
        assert isinstance(events, AsyncGenerator)
        return Listened(events)


def without_id(event: Any) -> Any:
    return {**event, "id": None, "created": None} if isinstance(event, dict) else event


@pytest.mark.parametrize(
    "body", [CHAT, {**CHAT, "n": 2}, TEXT, {**TEXT, "stream_options": {"include_usage": True}}]
)
async def test_the_stream_is_the_same(body: dict[str, Any]) -> None:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    script = says("He", 'l"\n', "", "lo é", "\u2028")
    streams = []
    for service in (ScriptedService(script), ListenedService(script)):
        async with client_for(service) as client:
            response = await client.post(path, json={**body, "stream": True})
        assert response.headers["x-request-id"]
        streams.append([without_id(event) for event in events_of(response.text)])
        assert service.closed == []
    assert streams[0] == streams[1]
    assert streams[0][-1] == "[DONE]"


async def test_a_failure_ends_the_stream() -> None:
    def script(request: Generate) -> list[Step]:
        failure = Failure(id=request.id, kind="server_error", message="it died")
        return [*says("a", "b")(request)[:2], failure]

    async with client_for(ListenedService(script)) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    last = events_of(response.text)[-1]
    assert last["error"]["message"] == "it died"


async def test_silence_is_filled_with_comments() -> None:
    def script(request: Generate) -> list[Step]:
        started, delta, *rest = says("a")(request)
        return [started, delta, 0.3, *rest]

    async with client_for(ListenedService(script), sse_comment_s=0.05) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert 2 <= response.text.count(": keep-alive\n\n") <= 6
    assert events_of(response.text)[-1] == "[DONE]"


async def test_a_client_that_goes_cancels() -> None:
    service = ListenedService(lambda request: [*says("a")(request)[:2], asyncio.Event()])
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            await anext(response.aiter_bytes())
        await asyncio.wait_for(service.closing.wait(), 2)
    assert service.closed == [service.request.id]


async def test_a_client_that_reads_slowly_gets_everything_and_stalls_nobody() -> None:
    n_deltas, text = 3000, "x" * 5000

    def script(request: Generate) -> list[Step]:
        first, *_, end, finish = says("")(request)
        if request.n == 1:
            return [first, Delta(id=request.id, index=0, text="short"), end, finish]
        deltas: list[Step] = [Delta(id=request.id, index=0, text=f"{i} {text}") for i in range(n_deltas)]
        return [first, *deltas, Delta(id=request.id, index=0, text="made"), *says("")(request)[-3:]]

    service = ListenedService(script)
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        body = {**TEXT, "n": 2, "stream": True}
        async with client.stream("POST", "/v1/completions", json=body) as slow:
            while service.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # all of it is made, though nobody reads
            other = await client.post("/v1/completions", json=TEXT)
            assert other.json()["choices"][0]["text"] == "short"
            answer = (await slow.aread()).decode()
    events = events_of(answer)
    texts = [event["choices"][0]["text"] for event in events[:-1] if event["choices"][0]["index"] == 0]
    assert [t.partition(" ")[0] for t in texts[:n_deltas]] == [str(i) for i in range(n_deltas)]
    assert events[-1] == "[DONE]"


async def test_an_error_of_the_servers_own_send_ends_the_request() -> None:
    service = ListenedService(lambda request: [*says("a", "b")(request)[:3], asyncio.Event()])
    app = app_for(service)
    body = json.dumps({**CHAT, "stream": True}).encode()
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and b'"content":"b"' in message["body"]:
            raise WorkerError("the server's send failed")

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "root_path": "", "scheme": "http",
        "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    await asyncio.wait_for(app(scope, incoming.get, send), 5)
    assert service.closed == [service.request.id]
