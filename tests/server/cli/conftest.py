"""`corral` as a process with a home of its own, and a tiny model to run it on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.pico import write_pico_checkpoint
from tests.warm_commands import WarmCommands

Corral = Callable[..., subprocess.CompletedProcess[str]]

CHAT_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    """Nothing of the user's own settings, no Hub, and everything below the test's folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CORRAL_", "HF_"))}
    return {
        **kept,
        "CORRAL_HOME": str(home),
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
        "CORRAL_THREADS": "1",  # two wait for each other at every step when the machine is busy
    }


@pytest.fixture(scope="session")
def warm_commands() -> Iterator[WarmCommands]:
    with WarmCommands() as running:
        yield running


@pytest.fixture
def corral(env: Mapping[str, str], warm_commands: WarmCommands) -> Corral:
    """Run one command to its end."""

    def run(*arguments: str, stdin: str = "", timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        return warm_commands.run(arguments, env, stdin=stdin, timeout_s=timeout_s)

    return run


def corral_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "server.cli", *arguments]


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that loads in no time."""
    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny_gguf(folder / "tiny.gguf", TinyModel(chat_template=CHAT_TEMPLATE))


SENTENCE = "the cat sat on a mat and told the other cats of all that it had seen from there"


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    return write_pico_checkpoint(tmp_path / "pico")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Not quite the same from line to line."""
    path = tmp_path / "text.txt"
    words = SENTENCE.split()
    path.write_text("\n".join(" ".join(words[line % 7 :: 1 + line % 3]) for line in range(120)))
    return path


def document(corral: Corral, *arguments: str) -> dict[str, Any]:
    """Run a command with --json; return what it prints."""
    done = corral(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed
