"""`corral launch`, `corral connect` and `corral doctor --client` as processes, with a stub for the client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.server.cli.conftest import Corral, corral_command

KEY = "sekret-key-1"
STUB = """#!{python}
import json, os, signal, sys
with open(os.environ["NOTES"], "w") as notes:
    json.dump({{"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid()}}, notes)
if "wait" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(43))
    print("waits", flush=True)
    signal.pause()
sys.exit(7)
"""


class Listing(BaseHTTPRequestHandler):
    """A server that lists two models and has no other route."""

    def do_GET(self) -> None:
        models = [
            {"id": "idle", "context_length": 4096, "status": {"value": "available"}},
            {"id": "org/ready", "context_length": 32_768, "status": {"value": "ready"}},
        ]
        wants_key = self.headers.get("Authorization") not in (None, f"Bearer {KEY}")
        status = 401 if wants_key else 200 if self.path.startswith("/v1/models") else 404
        content = json.dumps({"data": models}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def notes(env: dict[str, str], tmp_path: Path) -> Path:
    """The file in which a started client notes how; all clients are stubs."""
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name in ("claude", "codex", "zed"):
        (stubs / name).write_text(STUB.format(python=sys.executable))
        (stubs / name).chmod(0o755)
    env["PATH"] = f"{stubs}{os.pathsep}{env['PATH']}"
    env["HOME"] = str(tmp_path / "user")
    env["NOTES"] = str(tmp_path / "notes.json")
    return tmp_path / "notes.json"


def noted(notes: Path) -> Any:
    return json.loads(notes.read_text())


def test_a_client_is_started_with_its_arguments(corral: Corral, notes: Path, url: str, home: Path) -> None:
    done = corral("launch", "claude", "-p", "Say hi", "--url", url, "--verbose")
    assert done.returncode == 7, done.stderr  # the client's own
    assert noted(notes)["argv"] == ["-p", "Say hi", "--verbose"]
    env = noted(notes)["env"]
    assert env["ANTHROPIC_MODEL"] == "org/ready"
    assert env["ANTHROPIC_BASE_URL"] == url
    assert Path(env["CLAUDE_CONFIG_DIR"]).is_relative_to(home)
    assert not Path(env["HOME"]).exists()


def test_after_two_dashes_everything_is_the_clients(corral: Corral, notes: Path, url: str) -> None:
    done = corral("launch", "--url", url, "claude", "--", "--model", "x", "--debug", "--print", "--", "-h")
    assert done.returncode == 7, done.stderr
    assert noted(notes)["argv"] == ["--model", "x", "--debug", "--print", "--", "-h"]


def test_the_client_takes_the_process_over(env: dict[str, str], notes: Path, url: str) -> None:
    """So signals, the terminal and the exit code are its own."""
    with subprocess.Popen(
        corral_command("launch", "codex", "--url", url, "wait"), env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        assert noted(notes)["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 43


def test_the_key_comes_from_the_environment(
    corral: Corral, env: dict[str, str], notes: Path, url: str, home: Path
) -> None:
    env["CORRAL_API_KEY"] = KEY
    env["CORRAL_PORT"] = url.rpartition(":")[2]  # the server of this machine's settings
    done = corral("launch", "codex")
    assert done.returncode == 7, done.stderr
    assert noted(notes)["env"]["CORRAL_CLIENT_KEY"] == KEY
    for command in (["launch", "codex", "--print"], ["connect", "codex"], ["connect", "codex", "--json"]):
        shown = corral(*command)
        assert shown.returncode == 0, shown.stderr
        assert "CORRAL_CLIENT_KEY" in shown.stdout
        assert KEY not in shown.stdout + shown.stderr
    assert all(KEY not in path.read_text() for path in home.rglob("*") if path.is_file())


def test_a_wrong_key_is_told(corral: Corral, notes: Path, url: str) -> None:
    done = corral("launch", "codex", "--url", url, "--api-key", "wrong-key-12")
    assert done.returncode == 1
    assert "CORRAL_API_KEY" in done.stderr
    assert "wrong-key-12" not in done.stderr


def test_printing_changes_nothing(corral: Corral, notes: Path, url: str, home: Path) -> None:
    done = corral("launch", "codex", "exec", "--url", url, "--print")
    assert done.returncode == 0, done.stderr
    assert f"export CODEX_HOME={home}/clients/codex/settings" in done.stdout
    assert 'model = "org/ready"' in done.stdout
    assert done.stdout.endswith("\ncodex exec\n")
    assert not notes.exists()
    assert not (home / "clients").exists()


def test_a_short_context_is_refused(corral: Corral, notes: Path, url: str) -> None:
    for more in (["--model", "idle"], ["--context", "4096"]):
        done = corral("launch", "codex", "--url", url, *more)
        assert done.returncode == 2
        assert "--ctx 16384" in done.stderr
        assert not notes.exists()


def test_a_context_beyond_the_models_is_refused(corral: Corral, notes: Path, url: str) -> None:
    done = corral("launch", "codex", "--url", url, "--context", "65536")
    assert done.returncode == 2
    assert "32,768" in done.stderr
    assert "--ctx 65536" in done.stderr


def test_an_unknown_model_is_told_with_those_there_are(corral: Corral, notes: Path, url: str) -> None:
    done = corral("launch", "codex", "--url", url, "--model", "nobody")
    assert done.returncode == 1
    assert "it has org/ready, idle" in done.stderr


def test_no_server_and_no_program(corral: Corral, env: dict[str, str], notes: Path, url: str) -> None:
    done = corral("launch", "codex", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "corral serve REF" in done.stderr
    (notes.parent / "bin" / "codex").unlink()
    env["PATH"] = str(notes.parent / "bin")
    done = corral("launch", "codex", "--url", url)
    assert done.returncode == 1
    assert "install it: npm install -g @openai/codex@" in done.stderr


def test_the_users_file_is_changed_and_restored(
    corral: Corral, env: dict[str, str], notes: Path, url: str
) -> None:
    settings = Path(env["HOME"]) / ".config" / "zed" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_bytes(b'// mine\r\n{"theme": "One",}')
    for _ in range(2):
        done = corral("launch", "zed", "--url", url)
        assert done.returncode == 7, done.stderr
        assert "corral launch zed --restore" in done.stderr
    assert json.loads(settings.read_text())["agent"]["default_model"]["model"] == "org/ready"
    done = corral("launch", "zed", "--restore")
    assert done.returncode == 0, done.stderr
    assert settings.read_bytes() == b'// mine\r\n{"theme": "One",}'
    assert "nothing to restore" in corral("launch", "zed", "--restore").stderr


def test_connect_as_json(corral: Corral, url: str) -> None:
    printed = json.loads(corral("connect", "pi", "--url", url, "--json").stdout)
    assert printed["model"] == "org/ready"
    assert printed["command"] == "pi --provider corral --model org/ready"
    [file] = printed["files"]
    assert file["path"] == "~/.pi/agent/models.json"
    assert json.loads(file["text"]) == file["content"]


def test_connect_is_read_by_a_shell(corral: Corral, env: dict[str, str], url: str) -> None:
    lines = corral("connect", "claude", "--url", url).stdout
    script = f'{lines}\nprintf \'%s|%s\' "$ANTHROPIC_MODEL" "$ANTHROPIC_AUTH_TOKEN"'
    done = subprocess.run(["sh", "-euc", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "org/ready|none"


def test_connect_warns_of_a_short_context(corral: Corral, url: str) -> None:
    done = corral("connect", "codex", "--url", url, "--model", "idle")
    assert done.returncode == 0
    assert "warning" in done.stderr
    assert "--ctx 16384" in done.stderr


def test_doctor_names_what_an_older_server_lacks(corral: Corral, url: str) -> None:
    done = corral("doctor", "--client", "codex", "--url", url, "--json")
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["context"]["status"] == "ok"
    assert checks["a WebSocket"]["status"] == "fail"
    assert "426" in checks["a WebSocket"]["fact"]
    shown = corral("doctor", "--client", "codex", "--url", url)
    assert shown.returncode == 1
    assert "FAIL" in shown.stdout
    assert "fix:" in shown.stdout


@pytest.mark.parametrize("flag", [("--url", "http://x"), ("--model", "x"), ("--api-key", "x")])
def test_doctor_without_a_client_asks_no_server(corral: Corral, flag: tuple[str, str]) -> None:
    done = corral("doctor", *flag)
    assert done.returncode == 2
    assert "--client" in done.stderr
