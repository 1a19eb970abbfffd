"""`corral run`: one answer, a server, and an answer of that server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from models.reference import ModelRef
from server.cli.chat.backend import ChatOptions
from server.cli.run.one_answer import answer_once
from server.cli.run.running import running_backend
from server.config import ServerConfig
from tests.models.imports.other_programs import OllamaFolder
from tests.server.cli.chat.test_session import ScriptedBackend
from tests.server.cli.conftest import Corral, corral_command
from tests.server.http_client import app_for, serving


async def test_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    backend = ScriptedBackend()
    await answer_once(backend, "/etc is what?", ChatOptions(), "Be brief.")
    assert capsys.readouterr().out == "/etc is what? \n"
    assert backend.stopped
    assert [message["role"] for message in backend.asked[0]] == ["system", "user"]


async def test_a_running_server_that_has_the_model_is_asked(tmp_path: Path) -> None:
    async with serving(app_for()) as url:
        config = ServerConfig(port=int(url.rpartition(":")[2]))
        found = {}
        for text in ("demo", "unknown", "demo@main"):
            ref = ModelRef(kind="hub", repo="demo", revision="main") if "@" in text else ModelRef.parse(text)
            found[text] = await asyncio.to_thread(running_backend, ref, config)
        assert [text for text, backend in found.items() if backend is not None] == ["demo"]
        file = tmp_path / "demo.gguf"
        file.touch()
        assert await asyncio.to_thread(running_backend, ModelRef.parse(str(file)), config) is None
    assert await asyncio.to_thread(running_backend, ModelRef.parse("demo"), config) is None


def test_flags_of_a_conversation_where_there_is_none(env: dict[str, str], tiny_gguf: Path) -> None:
    done = subprocess.run(
        corral_command("run", str(tiny_gguf), "--system", "Be brief.", "--seed", "1"),
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--system and --seed can't be used to serve" in done.stderr


@pytest.mark.model
def test_an_imported_model_is_served_and_asked(
    env: dict[str, str], corral: Corral, tiny_gguf: Path, tmp_path: Path
) -> None:
    ollama = OllamaFolder(tmp_path / "ollama")
    ollama.add("tiny:3b", ollama.layer("model", tiny_gguf.read_bytes()))
    assert corral("import", "ollama", "--from", str(ollama.folder)).returncode == 0
    port = free_port()
    address = ("--port", str(port))
    with subprocess.Popen(
        corral_command("run", "TINY", *address),
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as server:
        try:
            wait_until_ready(server, port)
            asked = corral("run", "tiny:3b", "--max-tokens", "4", *address, stdin="hello\n")
            assert asked.returncode == 0, asked.stderr
            assert f"tiny:3b: tiny-3b\ntiny-3b at http://127.0.0.1:{port}\n" in asked.stderr
            assert asked.stdout.endswith("\n")
            served = corral("remove", "tiny-3b", "--yes")
            assert (served.returncode, "is being served" in served.stderr) == (1, True)
            # Ollama deletes its file, and the model stays.
            for blob in (ollama.folder / "blobs").iterdir():
                blob.unlink()
            assert "tiny-3b:F32" in corral("list").stdout
        finally:
            server.terminate()
            server.communicate()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=30).close()
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
