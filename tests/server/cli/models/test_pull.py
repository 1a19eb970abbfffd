"""`corral pull` of a ready GGUF from a Hub on loopback: it is listed, and served from where it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from models.paths import Paths
from models.store.store import ModelStore
from tests.hub_server import HubServer
from tests.server.cli.conftest import corral_command
from tests.warm_commands import WarmCommands

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub_env(env: dict[str, str]) -> dict[str, str]:
    """The environment of a machine that is online."""
    return {key: value for key, value in env.items() if key != "HF_HUB_OFFLINE"}


@pytest.fixture
def run(warm_commands: WarmCommands) -> Run:
    return lambda env, *arguments: warm_commands.run(arguments, env)


def test_a_ready_gguf_is_listed_and_not_copied(
    hub_env: dict[str, str], home: Path, tmp_path: Path, tiny_gguf: Path, run: Run
) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    shutil.copy(tiny_gguf, folder / "tiny-F32.gguf")
    with HubServer() as hub:
        hub.add("org/tiny-GGUF", folder)
        env = {**hub_env, **hub.environment(tmp_path)}
        done = run(env, "pull", "org/tiny-GGUF:F32", "--json")
        assert done.returncode == 0, done.stderr
        assert "serve it: corral serve org/tiny-GGUF:F32" in done.stderr
        assert json.loads(done.stdout)["kind"] == "gguf"
        again = run(env, "pull", "org/tiny-GGUF:F32")
        assert again.returncode == 0, again.stderr
        assert "of it here already" in again.stderr
    [model] = ModelStore(Paths.from_environment(env)).list()
    assert (model.name, list(model.types)) == ("org/tiny-GGUF", ["F32"])
    assert model.types["F32"].linked
    assert model.types["F32"].path.is_file()
    assert not list(home.glob("models/**/*.gguf"))
    removed = run(env, "remove", "org/tiny-GGUF", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert model.types["F32"].path.is_file()  # the Hub's cache is not ours


@pytest.mark.model
def test_serve_and_chat_pull_it_by_themselves(
    hub_env: dict[str, str], tmp_path: Path, tiny_gguf: Path, run: Run
) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    shutil.copy(tiny_gguf, folder / "tiny-F32.gguf")
    with HubServer() as hub:
        hub.add("org/tiny-GGUF", folder)
        env = {**hub_env, **hub.environment(tmp_path)}
        done = subprocess.run(
            corral_command("chat", "org/tiny-GGUF:F32", "--max-tokens", "3"),
            env=env,
            input="hello\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
        missing = run(env, "serve", "org/tiny-GGUF:Q8_0", "--port", "0")
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[-1].startswith("corral: ")
