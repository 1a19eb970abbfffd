"""The application under test: in this process, or on a real socket for what needs a connection."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from server.app import create_app
from server.config import ServerConfig
from server.http.body_processes import BodyProcesses
from server.http.connection import ConnectionLimits, protocol
from tests.server.scripted_service import ScriptedService

CHAT: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
TEXT: dict[str, Any] = {"model": "demo", "prompt": "Hi"}


@cache
def body_processes() -> BodyProcesses:
    """Return the processes that read large bodies for all applications: to start one takes a second."""
    return BodyProcesses()


def app_for(service: ScriptedService | None = None, **settings: Any) -> FastAPI:
    app = create_app(ServerConfig(**settings), service or ScriptedService())
    app.state.api = replace(app.state.api, body_processes=body_processes())
    return app


def client_for(service: ScriptedService | None = None, **settings: Any) -> httpx.AsyncClient:
    """A client of a new application, without a socket; a defect gives its 500, as on a socket."""
    transport = httpx.ASGITransport(app=app_for(service, **settings), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://corral")


class Server(uvicorn.Server):
    """A server that ends when it is told to; uvicorn's looks ten times a second, and waits a tenth then."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.end = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in [*self.server_state.connections]:
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(app: FastAPI, limits: ConnectionLimits | None = None) -> AsyncIterator[str]:
    """Run `app` as the server does, on a free loopback port; gives its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app,
            http=protocol(limits or ConnectionLimits()),
            log_config=None,
            ws="none",
            lifespan="off",
            access_log=False,
        )
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # uvicorn offers no event for it
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.end.set()
            await task


def events_of(text: str) -> list[Any]:
    """The data of each server-sent event: parsed JSON, or the text `[DONE]`. Comments are left out."""
    assert text.endswith("\n\n")
    events: list[Any] = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        event = re.sub(r"\A(:.*\n)+", "", block)  # a comment is one line, and no event
        assert event.startswith("data: ")
        data = event.removeprefix("data: ")
        events.append(data if data == "[DONE]" else json.loads(data))
    return events


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of a response, after checking that it has exactly OpenAI's form."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    return error
