"""`corral chat` as a process: a worker of its own, lines on stdin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.server.cli.conftest import Corral

pytestmark = pytest.mark.model


def test_piped_lines_are_answered(corral: Corral, tiny_gguf: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    done = corral(
        *("chat", str(tiny_gguf), "--max-tokens", "8", "--seed", "1"), stdin=f"hello\nworld\n/save {saved}\n"
    )
    assert done.returncode == 0, done.stderr
    roles = [message["role"] for message in json.loads(saved.read_text())]
    assert roles == ["user", "assistant", "user", "assistant"]
    again = corral("chat", str(tiny_gguf), "--max-tokens", "8", "--seed", "1", stdin="hello\nworld\n")
    assert done.stdout.startswith(again.stdout)


def test_a_message_that_does_not_fit(corral: Corral, tiny_gguf: Path) -> None:
    done = corral("chat", str(tiny_gguf), "--ctx", "32", "--max-tokens", "4", stdin=f"{'cat ' * 200}\ncat\n")
    assert done.returncode == 0, done.stderr
    assert "/clear" in done.stdout


def test_a_file_that_is_no_model(corral: Corral, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    done = corral("chat", str(bad), stdin="hello\n")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_no_server_at_url(corral: Corral) -> None:
    done = corral("chat", "--url", "http://127.0.0.1:9", stdin="hello\n")
    assert done.returncode == 1
    assert "is the server running?" in done.stderr
