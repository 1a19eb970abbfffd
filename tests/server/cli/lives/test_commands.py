"""`corral ps`, `load` and `unload` as their users type them, against a server in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from subprocess import CompletedProcess

import pytest
import pytest_asyncio
from pydantic import SecretStr

from server.app import create_app
from server.cli.lives.ps import span
from server.config import ServerConfig
from server.http.parts import AppParts
from server.supervisor.lives import ModelLives
from tests.server.cli.conftest import Corral
from tests.server.http_client import serving
from tests.server.supervisor.conftest import (
    MakeSupervisor,
    WriteScript,
    script,  # noqa: F401 - a fixture
    supervise,  # noqa: F401 - a fixture
)


@dataclass
class Setup:
    corral: Corral
    url: str

    async def run(self, *arguments: str) -> CompletedProcess[str]:
        call: Callable[[], CompletedProcess[str]] = partial(self.corral, *arguments, "--url", self.url)
        return await asyncio.to_thread(call)


@pytest_asyncio.fixture
async def setup(corral: Corral, supervise: MakeSupervisor, script: WriteScript) -> AsyncIterator[Setup]:  # noqa: F811
    supervisor = supervise(stored=(script("org/one"), script("two")))
    app = create_app(
        ServerConfig(api_keys=(SecretStr("secret"),)), supervisor, AppParts(lives=ModelLives(supervisor))
    )
    async with serving(app) as url:
        yield Setup(corral, url)


async def test_from_loading_to_unloading(setup: Setup) -> None:
    key = ("--api-key", "secret")
    empty = await setup.run("ps", *key)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "no model is loaded at" in empty.stderr
    listed = json.loads((await setup.run("ps", "--json", *key)).stdout)
    assert [(model["id"], model["state"]) for model in listed] == [
        ("org/one", "available"),
        ("two", "available"),
    ]
    loaded = await setup.run("load", "org/one", "--keep-alive", "2h", *key)
    assert loaded.returncode == 0, loaded.stderr
    assert "org/one is ready" in loaded.stderr
    shown = (await setup.run("ps", *key)).stdout.splitlines()
    assert len(shown) == 2
    assert shown[1].split()[:2] == ["org/one", "ready"]
    assert shown[1].split()[-1] in ("2h00m", "1h59m", "120m")
    pinned = json.loads((await setup.run("load", "ONE", "--pin", "--json", *key)).stdout)
    assert pinned["pinned"] is True
    assert (await setup.run("ps", "--all", *key)).stdout.splitlines()[1].endswith("pinned")
    gone = await setup.run("unload", "org/one", *key)
    assert "org/one is unloaded" in gone.stderr
    assert json.loads((await setup.run("unload", "org/one", "--json", *key)).stdout)["state"] == "available"


async def test_what_goes_wrong_is_one_line(setup: Setup) -> None:
    locked = await setup.run("ps", "--api-key", "wrong")
    assert locked.returncode == 1
    assert "wants a key that may do this (status 401); set CORRAL_API_KEY" in locked.stderr
    unknown = await setup.run("load", "four", "--api-key", "secret")
    assert (unknown.returncode, "`four` does not exist" in unknown.stderr) == (1, True)
    never = await setup.run("load", "two", "--keep-alive", "soon", "--api-key", "secret")
    assert (never.returncode, "is no time" in never.stderr) == (2, True)
    nobody = await asyncio.to_thread(setup.corral, "ps", "--url", "http://127.0.0.1:9")
    assert (nobody.returncode, "start a server with corral serve" in nobody.stderr) == (1, True)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0s"), (119.4, "119s"), (120, "2m"), (7140, "119m"), (11_100, "3h05m")]
)
def test_times(seconds: float, text: str) -> None:
    assert span(seconds) == text
