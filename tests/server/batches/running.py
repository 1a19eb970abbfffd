"""An application with a store of batches, run as the server runs it, and the official client of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from openai import AsyncOpenAI
from openai.types import Batch

from server.app import create_app
from server.batches.line_call import LineCaller
from server.batches.records import StorageLimits
from server.batches.runner import BatchRunner
from server.batches.store import BatchStore
from server.config import ServerConfig
from server.http.parts import AppParts
from server.usage.accounts import Accounts
from tests.server.http_client import serving
from tests.server.scripted_service import ScriptedService

CHAT = "/v1/chat/completions"
LIMITS = StorageLimits(file_bytes=1 << 20, total_bytes=4 << 20)


def line(number: int, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """The request of one line; its custom_id is `request-NUMBER`."""
    said = {"messages": [{"role": "user", "content": f"Hi {number}"}]} if url == CHAT else {}
    body = {"model": "demo", **said, **body}
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body}


def jsonl(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in lines)


def records(content: bytes) -> dict[str, Any]:
    """The lines of a file of results by custom_id, after checking that none is there twice."""
    lines = [json.loads(each) for each in content.splitlines()]
    found = {each["custom_id"]: each for each in lines}
    assert len(found) == len(lines), "a line is answered twice"
    assert all(each.keys() == {"id", "custom_id", "response", "error"} for each in lines)
    return found


@asynccontextmanager
async def batch_server(
    service: ScriptedService,
    folder: Path,
    limits: StorageLimits = LIMITS,
    *,
    key: str = "key",
    runs: bool = True,
    accounts: Accounts | None = None,
    **settings: Any,
) -> AsyncIterator[AsyncOpenAI]:
    store = BatchStore(folder, limits)
    config = ServerConfig(**settings)
    app = create_app(config, service, AppParts(batches=store, accounts=accounts))
    runner = BatchRunner(
        store,
        LineCaller(app),
        app.state.api.find_for,
        n_at_once=config.batch_parallel,
        line_bytes=config.body_limit_bytes,
    )
    if runs:
        runner.start()
    try:
        async with (
            serving(app) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
        ):
            yield client
    finally:
        await runner.stop()
        store.close()


async def begin(
    client: AsyncOpenAI, lines: Sequence[dict[str, Any]] | bytes, endpoint: Any = CHAT, window: str = "24h"
) -> Batch:
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    file = await client.files.create(file=("requests.jsonl", content), purpose="batch")
    wanted: Any = window
    return await client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window=wanted)


async def ended(client: AsyncOpenAI, batch: Batch, wait_s: float = 60.0) -> Batch:
    """The batch once it has ended."""
    async for seen in _seen(client, batch, wait_s):
        if seen.status not in ("validating", "in_progress", "finalizing", "cancelling"):
            return seen
    raise AssertionError


async def n_completed(client: AsyncOpenAI, batch: Batch, n_lines: int) -> None:
    """Return once so many lines of a batch are answered."""
    async for seen in _seen(client, batch, 60.0):
        if seen.request_counts is not None and seen.request_counts.completed >= n_lines:
            return


async def _seen(client: AsyncOpenAI, batch: Batch, wait_s: float) -> AsyncIterator[Batch]:
    async with asyncio.timeout(wait_s):
        while True:
            yield await client.batches.retrieve(batch.id)
            await asyncio.sleep(0.02)


async def none_active(folder: Path) -> None:
    """Return once no batch of a store is to be worked on, whoever does it."""
    store = BatchStore(folder, LIMITS)
    try:
        async with asyncio.timeout(60):
            while await store.active_batches():  # noqa: ASYNC110 - it is another store's work
                await asyncio.sleep(0.02)
    finally:
        store.close()


async def results(client: AsyncOpenAI, file_id: str | None) -> dict[str, Any]:
    if file_id is None:
        return {}
    return records((await client.files.content(file_id)).content)


def limits(**changes: int) -> StorageLimits:
    return msgspec.structs.replace(LIMITS, **changes)
