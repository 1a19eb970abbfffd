"""One cluster for all tests of a module: two hosts, Ray on both, the demo model in four types."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.hosts import Host, hosts, reason_for_none

ROOT = Path(__file__).resolve().parents[2]
CORRAL = (sys.executable, "-P", "-m", "server.cli")
PORT = 8080
START_S = 240.0


@dataclass
class LocalCluster:
    """The hosts of a cluster, and an API process on the first of them."""

    hosts: list[Host]
    logs: Path
    api: subprocess.Popen[bytes] | None = None

    def corral(self, *arguments: str, host: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of the program."""
        return self.hosts[host].run(*CORRAL, *arguments)

    def must(self, *arguments: str, host: int = 0) -> str:
        """Run a command that has to succeed; return its output."""
        done = self.corral(*arguments, host=host)
        assert done.returncode == 0, f"corral {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def deploy(self, text: str, *, code: int = 0) -> str:
        """Deploy a file; return all that was said."""
        file = self.logs / "cluster.toml"
        file.write_text(text)
        done = self.corral("cluster", "deploy", str(file))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        """Return what the cluster says of itself."""
        status: dict[str, Any] = json.loads(self.must("cluster", "status", "--json"))
        return status

    def running(self, name: str) -> int:
        """Return the number of a deployment's replicas that answer."""
        found = [each for each in self.status()["deployments"] if each["name"] == name]
        return int(found[0]["replicas"].get("running", 0)) if found else 0

    def load(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin to send requests."""
        command = [sys.executable, "-m", "tests.cluster.load", f"{self.hosts[0].address}:{PORT}", *arguments]
        with (self.logs / "load.json").open("wb") as file:
            return subprocess.Popen(self.hosts[0].command(*command), cwd=ROOT, stdout=file)

    def outcome(self, load: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Return what came of the requests: those of the load that was begun last."""
        assert load.wait(600) == 0
        found: dict[str, Any] = json.loads((self.logs / "load.json").read_text().splitlines()[-1])
        return found

    def sent(self, *arguments: str) -> dict[str, Any]:
        """Send requests to their end."""
        return self.outcome(self.load(*arguments))

    def start_api(self) -> None:
        """Start the API process, and wait until it is ready."""
        host = self.hosts[0]
        arguments = ("serve", "--cluster", host.address, "--host", host.address, "--port", str(PORT))
        self.api = host.start(*CORRAL, *arguments, log=self.logs / "api.log")
        self.wait_ready()

    def end_api(self) -> None:
        """End the API process, if there is one."""
        if self.api is not None:
            self.api.terminate()
            self.api.wait(60)

    def wait_ready(self) -> None:
        """Return once /ready says so."""
        until(lambda: self.not_ready() == "", START_S)

    def not_ready(self) -> str:
        """Return why /ready doesn't say that it is; empty: it does."""
        script = (
            "import sys, urllib.error, urllib.request\n"
            "try: urllib.request.urlopen(sys.argv[1], timeout=5)\n"
            "except urllib.error.HTTPError as error: print(error.read().decode())\n"
            "except OSError as error: print(error)"
        )
        probe = f"http://{self.hosts[0].address}:{PORT}/ready"
        done = self.hosts[0].run(sys.executable, "-c", script, probe)
        return done.stdout + done.stderr


def require_hosts() -> None:
    """Skip the test where there is no Ray, or no host can be made."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray isn't installed here; run `make cluster-test`")
    if (reason := reason_for_none()) is not None:
        pytest.skip(reason)


def until(condition: Any, timeout_s: float) -> None:
    """Wait for a condition."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"it isn't so after {timeout_s:g} s"
        time.sleep(0.5)


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CORRAL_HOME with the demo model."""
    home = tmp_path_factory.mktemp("models")
    environment = {**os.environ, "CORRAL_HOME": str(home)}
    types = [part for type_ in ("F32", "Q8_0", "Q4_K_M") for part in ("--type", type_)]
    subprocess.run([*CORRAL, "quantize", "demo", *types], env=environment, check=True, capture_output=True)
    return home


@pytest.fixture(scope="module")
def cluster(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of two hosts, for the tests of one module: another one's hosts have the same names."""
    require_hosts()
    folder = Path(f"/tmp/cc{os.getpid()}")  # noqa: S108 - paths of sockets have to be short
    try:
        with hosts(2, folder, {}) as made:
            for host in made:
                shutil.copytree(homes / "models", host.home / "models")
            running = LocalCluster(made, tmp_path_factory.mktemp("logs"))
            running.must("cluster", "up", "--address", made[0].address)
            join(running, 1)
            yield running
            running.end_api()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def join(cluster: LocalCluster, number: int) -> None:
    """Take a host into the cluster, with a copy of the secret."""
    copy = cluster.hosts[number].folder / "token"
    shutil.copy(cluster.hosts[0].home / "cluster" / "token", copy)
    address = cluster.hosts[0].address
    cluster.must("cluster", "join", address, "--token-file", str(copy), host=number)
