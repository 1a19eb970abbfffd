"""Disks that are full, on a real file system, or can't be written: the status, and no paths of the server."""

from __future__ import annotations

import contextlib
import logging
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.app import create_app
from server.batches.store import BatchStore
from server.config import ServerConfig
from server.http.parts import AppParts
from server.pages.store import ChatStore
from server.responses.records import Limits
from server.responses.store import ResponseStore
from tests.server.batches.running import LIMITS
from tests.server.http_client import CHAT
from tests.server.scripted_service import ScriptedService

UPLOAD: Any = {"files": {"file": ("a.jsonl", b"x" * 400_000)}, "data": {"purpose": "batch"}}
WISHES: dict[str, dict[str, Any]] = {
    "/v1/files": UPLOAD,
    "/web/chats": {"json": {"settings": {}}},
    "/v1/conversations": {"json": {"items": [{"role": "user", "content": "x" * 40_000}]}},
}


@asynccontextmanager
async def client_of(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    parts = AppParts(
        batches=BatchStore(folder / "batches", LIMITS),
        chats=ChatStore(folder / "chats" / "chats.sqlite", 1 << 24),
        responses=ResponseStore(
            folder / "responses" / "state.sqlite", Limits(n_bytes=1 << 24, n_records=100)
        ),
    )
    transport = httpx.ASGITransport(create_app(ServerConfig(), ScriptedService(), parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as client:
        yield client
    for part in (parts.batches, parts.chats, parts.responses):
        part.close()


async def check_all(
    client: httpx.AsyncClient, folder: Path, caplog: pytest.LogCaptureFixture, status: int, code: str | None
) -> list[str]:
    """Check every member's answer; return the messages."""
    messages = []
    for path, wish in WISHES.items():
        caplog.clear()
        answer = await client.post(path, **wish)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["code"]) == (status, "server_error", code), (
            answer.text
        )
        assert str(folder) not in answer.text
        assert any(str(folder) in record.getMessage() for record in caplog.records), "the log has the path"
        messages.append(error["message"])
    stored = {"model": "demo", "input": "x" * 200_000}
    answer = await client.post("/v1/responses", json=stored)
    warnings = answer.json()["warnings"]
    assert answer.status_code == 200
    assert str(folder) not in answer.text
    assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
    return [*messages, warnings[-1]]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system without room."""
    folder = tmp_path / "full"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={1 << 20}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "taken").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


async def test_a_full_disk_is_a_507(full: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with client_of(full) as client:
        fill(full)  # nothing can be opened
        messages = await check_all(client, full, caplog, 507, "disk_full")
        assert all("free some space" in each for each in messages), messages
        (full / "taken").unlink()
        assert (await client.post("/web/chats", json={"settings": {}})).status_code == 200
        file = (await client.post("/v1/files", **{**UPLOAD, "files": {"file": ("a.jsonl", b"x")}})).json()
        fill(full)  # nothing can grow
        answer = await client.post("/v1/files", **UPLOAD)
        assert answer.status_code == 507, answer.text
        assert (await client.get(f"/v1/files/{file['id']}/content")).content == b"x"


async def test_a_place_that_can_not_be_written_is_a_500(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("batches", "chats", "responses"):
        (folder / name).write_bytes(b"in the folder's place")
    async with client_of(folder) as client:
        messages = await check_all(client, folder, caplog, 500, None)
    assert all("log" in each and "permissions" in each for each in messages), messages
