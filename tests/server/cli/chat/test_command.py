"""`corral chat` as a process: a worker of its own, lines on stdin."""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from models.paths import Paths
from models.store.fingerprint import fingerprint
from server.tuning.result_store import results_here
from server.tuning.settings import Settings
from tests.server.cli.conftest import Corral, corral_command
from tests.server.tuning.results import a_result

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


def test_what_tune_found_is_used(env: dict[str, str], tiny_gguf: Path) -> None:
    results = results_here(Paths.from_environment(env).tuning_dir)
    settings = Settings(threads=1, threads_batch=1, n_ubatch=64, spin_count=7)
    results.save(a_result(fingerprint(tiny_gguf), machine=results.machine, settings=settings))
    with subprocess.Popen(
        corral_command("--debug", "chat", str(tiny_gguf), "--max-tokens", "2"),
        env={name: value for name, value in env.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("hello\n")
        process.stdin.flush()
        process.stdout.readline()  # answered: the worker runs
        spins = [child.environ().get("GOMP_SPINCOUNT") for child in psutil.Process(process.pid).children()]
        _, said = process.communicate(timeout=60)
    assert spins == ["7"]
    assert "runs as tuned here on 2026-01-02: n_ubatch 64, spin_count 7" in said


def test_no_server_at_url(corral: Corral) -> None:
    done = corral("chat", "--url", "http://127.0.0.1:9", stdin="hello\n")
    assert done.returncode == 1
    assert "is the server running?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "ftp://x"), "write http://HOST:PORT"),
        (("--url", "http://a b"), "write http://HOST:PORT"),
        (("--url", "http://127.0.0.1:9", "--ctx", "5", "--threads", "1"), "--ctx and --threads can't be set"),
        (("--api-key", "k"), "leave the key out"),
        (("--seed", "4294967295"), "Invalid value for '--seed'"),
    ],
)
def test_wrong_usage(corral: Corral, arguments: tuple[str, ...], said: str) -> None:
    done = corral("chat", *arguments, stdin="hello\n")
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"data": [1]}'])
def test_another_kind_of_server(corral: Corral, body: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        done = corral("chat", "--url", f"127.0.0.1:{server.server_port}", stdin="hello\n")
        server.shutdown()
        thread.join()
    assert done.returncode == 1
    assert "no server with OpenAI's API; check --url" in done.stderr


def test_bytes_that_are_no_text(env: dict[str, str], tiny_gguf: Path) -> None:
    for more in ({"LC_ALL": "C"}, {"PYTHONUTF8": "1"}):
        done = subprocess.run(
            corral_command("chat", str(tiny_gguf), "--max-tokens", "2"),
            env={**env, **more},
            input=b"caf\xe9\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout
