"""An application that keeps answers, and the official client of it, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from openai import AsyncOpenAI

from server.app import create_app
from server.config import ServerConfig
from server.http.parts import AppParts
from server.responses.records import Limits
from server.responses.store import ResponseStore
from tests.server.http_client import serving
from tests.server.scripted_service import ScriptedService

LIMITS = Limits(n_bytes=1 << 20, n_records=100)


def keeping_app(
    service: ScriptedService, folder: Path | None, limits: Limits = LIMITS, **settings: Any
) -> FastAPI:
    """Return an application; without a folder it keeps nothing."""
    path = None if folder is None else folder / "state.sqlite"
    return create_app(ServerConfig(**settings), service, AppParts(responses=ResponseStore(path, limits)))


@asynccontextmanager
async def http_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a socket; the file is closed at the end."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://corral") as client:
            yield client
    finally:
        app.state.api.responses.close()


@asynccontextmanager
async def sdk_of(app: FastAPI, key: str = "key") -> AsyncIterator[AsyncOpenAI]:
    try:
        async with (
            serving(app) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
        ):
            yield client
    finally:
        app.state.api.responses.close()


def named_events(text: str) -> list[dict[str, Any]]:
    """The events of a stream, after checking their names and numbers. Comments aren't sent."""
    events: list[dict[str, Any]] = []
    assert text.endswith("\n\n")
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == len(events)
        events.append(event)
    return events
