"""Every command on the pages "Use it with …" is run, on a real server and with stubs for the programs.

The pages' model is replaced by a tiny one of random weights; what a client would do is noted by its stub.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from server.clients.registry import clients
from tests.e2e.running import CORRAL, environment, free_port, is_ready

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(600)]

DOCS = Path(__file__).parents[2] / "docs" / "clients"
PAGES = [path.stem for path in sorted(DOCS.glob("*.md")) if path.stem != "README"]
MODEL = "Qwen/Qwen3-4B:Q4_K_M"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
STUB = """#!{python}
import json, os, sys
with open(os.environ["NOTES"], "a") as notes:
    notes.write(json.dumps({{"argv": sys.argv, "env": dict(os.environ)}}) + "\\n")
"""


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def serve_lines(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines() if "corral serve " in line]


@dataclass(frozen=True)
class Place:
    """A folder in which a page's commands run: their home, and the stubs' notes."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=150, check=False
        )

    def notes(self) -> list[dict[str, object]]:
        path = Path(self.env["NOTES"])
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny_gguf(folder / "tiny.gguf", TinyModel(n_ctx_train=65_536, chat_template=TEMPLATE))


@pytest.fixture(scope="module")
def servers(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The ports of servers by the line that starts them; each page's line is really run, once."""
    ports: dict[str, int] = {}
    processes: list[subprocess.Popen[bytes]] = []
    home = tmp_path_factory.mktemp("servers")
    try:
        for line in sorted({line for page in PAGES for line in serve_lines(page)}):
            port = ports[line] = free_port()
            env = environment(home) | {"CORRAL_PORT": str(port)}
            env["PATH"] = f"{Path(CORRAL).parent}{os.pathsep}{env['PATH']}"
            command = line.replace(MODEL, shlex.quote(str(tiny)))
            assert command != line
            with (home / f"{port}.log").open("wb") as log:
                process = subprocess.Popen(
                    ["bash", "-c", f"exec env {command}"], env=env, stdout=log, stderr=log
                )
            processes.append(process)
            deadline = time.monotonic() + 120
            while not is_ready(f"http://127.0.0.1:{port}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((home / f"{port}.log").read_text())
                time.sleep(0.1)
        yield ports
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(timeout=40)


def a_place(folder: Path, port: int) -> Place:
    stubs = folder / "bin"
    stubs.mkdir()
    for client in clients().values():
        if client.program is not None:
            (stubs / client.program).write_text(STUB.format(python=sys.executable))
            (stubs / client.program).chmod(0o755)
    env = environment(folder) | {
        "HOME": str(folder / "home"),
        "NOTES": str(folder / "notes"),
        "CORRAL_PORT": str(port),
        "COLUMNS": "200",
    }
    env["PATH"] = os.pathsep.join([str(stubs), str(Path(CORRAL).parent), env["PATH"]])
    return Place(folder, env)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(page: str, servers: dict[str, int], tmp_path: Path) -> None:
    [line] = serve_lines(page)
    place = a_place(tmp_path, servers[line])
    client = clients()[page]
    n_run = n_starts = 0
    for block in blocks(page, "sh"):
        for command in block.splitlines():
            if command == line:
                continue
            done = place.run("bash", "-euo", "pipefail", "-c", command)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            n_run += 1
            n_starts += "corral launch" in command and "--restore" not in command
    assert n_run >= 2
    if client.program is not None:
        assert n_starts
        notes = place.notes()
        assert len(notes) >= n_starts
        assert all(str(servers[line]) in json.dumps(note) or page == "zed" for note in notes if page != "pi")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_every_program_of_a_page_runs(page: str, servers: dict[str, int], tmp_path: Path) -> None:
    """With the variables that `corral connect` prints, as the page says."""
    place = a_place(tmp_path, servers[serve_lines(page)[0]])
    for number, block in enumerate(blocks(page, "python")):
        program = tmp_path / f"program{number}.py"
        program.write_text(block)
        connected = f'eval "$(corral connect {page})" && {shlex.quote(sys.executable)} {program}'
        done = place.run("bash", "-euo", "pipefail", "-c", connected)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_other_code_blocks_have_no_commands() -> None:
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        assert set(re.findall(r"^```(\w*)$", text, re.MULTILINE)) <= {"sh", "python", ""}
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(
            blocks(page, "sh") + blocks(page, "python")
        )
