"""File systems that are read-only, or have no links or no locks: what is there is used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.hub_server import HubServer
from tests.pico import write_pico_checkpoint
from tests.server.cli.conftest import corral_command
from tests.warm_commands import WarmCommands

HOOK = """
import errno, fcntl, os
ROOT, FAULT = os.environ["FAULTY_FOLDER"], os.environ["FAULT"]
def refused(function):
    def call(source, target, *args, **options):
        if os.path.abspath(os.fspath(target)).startswith(ROOT):
            raise OSError(errno.EPERM, "Operation not permitted", target)
        return function(source, target, *args, **options)
    return call
if FAULT == "links":
    os.symlink, os.link = refused(os.symlink), refused(os.link)
else:
    flock = fcntl.flock
    def without_locks(descriptor, operation):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if os.path.realpath(f"/proc/self/fd/{number}").startswith(ROOT):
            raise OSError(getattr(errno, FAULT), "no locks here")
        return flock(descriptor, operation)
    fcntl.flock = without_locks
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(tmp_path_factory.mktemp("served") / "pico", n_layers=1)


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[HubServer]:
    with HubServer() as running:
        running.add("org/name", checkpoint)
        yield running


def read_only(folder: Path) -> list[str]:
    """Return the beginning of a command for which the folder is on a read-only file system."""
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", script, str(folder)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    return prefix


def run(commands: WarmCommands, env: Mapping[str, str], *arguments: str) -> str:
    done = commands.run(arguments, env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def faulty(env: Mapping[str, str], folder: Path, fault: str, tmp_path: Path) -> dict[str, str]:
    hooks = tmp_path / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(HOOK)
    paths = os.pathsep.join(filter(None, [str(hooks), env.get("PYTHONPATH", "")]))
    return {**env, "PYTHONPATH": paths, "FAULTY_FOLDER": str(folder), "FAULT": fault}


@pytest.mark.parametrize("offline", ["0", pytest.param("1", marks=pytest.mark.thorough)])
def test_a_cache_on_a_read_only_disk(
    offline: str, hub: HubServer, env: dict[str, str], tmp_path: Path, warm_commands: WarmCommands
) -> None:
    env = env | hub.environment(tmp_path) | {"HF_HUB_OFFLINE": "0"}
    run(warm_commands, env, "pull", "org/name")
    cache = Path(env["HF_HOME"])
    prefix, env["HF_HUB_OFFLINE"] = read_only(cache), offline
    shutil.rmtree(cache / "hub" / ".locks")
    with WarmCommands(prefix) as commands:
        run(commands, env, "pull", "org/name")
        shutil.rmtree(Path(env["CORRAL_HOME"]) / "verified")
        run(commands, env, "quantize", "org/name", "--type", "F32")


@pytest.mark.parametrize(
    "fault",
    [
        "ENOSYS",
        *(pytest.param(fault, marks=pytest.mark.thorough) for fault in ("links", "ENOLCK", "EOPNOTSUPP")),
    ],
)
def test_a_cache_without_links_or_locks(
    fault: str, hub: HubServer, env: dict[str, str], tmp_path: Path
) -> None:
    """`test_file_lock.py` has the other errors that mean no locks."""
    env = env | hub.environment(tmp_path) | {"HF_HUB_OFFLINE": "0"}
    env = faulty(env, tmp_path, fault, tmp_path)
    with WarmCommands(env=env) as commands:
        snapshot = Path(json.loads(run(commands, env, "pull", "org/name", "--json"))["snapshot"])
        weights = snapshot / "model.safetensors"
        assert weights.is_symlink() is (fault != "links")
        blobs = list((snapshot.parents[1] / "blobs").iterdir())
        assert bool(blobs) is (fault != "links")
        again = json.loads(run(commands, env, "pull", "org/name", "--json"))
        assert again["snapshot"] == str(snapshot)
        assert len(hub.downloads("model.safetensors")) == 1
        shutil.rmtree(Path(env["CORRAL_HOME"]) / "verified")
        env["HF_HUB_OFFLINE"] = "1"
        run(commands, env, "quantize", "org/name", "--type", "F32")
        assert "org/name" in run(commands, env, "list")
        run(commands, env, "remove", "org/name", "--yes")


def test_a_store_on_a_read_only_disk(
    env: dict[str, str], home: Path, tmp_path: Path, warm_commands: WarmCommands
) -> None:
    home.mkdir()
    file = write_tiny_gguf(tmp_path / "tiny.gguf", TinyModel())
    run(warm_commands, env, "quantize", str(file), "--type", "F32")
    prefix = read_only(home)
    with WarmCommands(prefix) as commands:
        assert "tiny" in run(commands, env, "list")
        assert "F32" in run(commands, env, "show", str(file))
        failed = commands.run(("quantize", str(file), "--type", "F16"), env)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert "Read-only file system" in last
    assert last.endswith("check the permissions, or set CORRAL_HOME")
    process = subprocess.Popen(
        [*prefix, *corral_command("serve", f"{file}", "--port", "8141", "--ctx", "64")],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert _is_ready(process, "http://127.0.0.1:8141/ready"), process.stderr
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def _is_ready(process: subprocess.Popen[str], url: str) -> bool:
    for _ in range(300):
        if process.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    return False
