"""A replica in a process of its own: a file beside its model has the API processes that it connects to.

`ReplicaService` is the real one; the worker behind it is the supervisor tests' scripted one, or, for a file
that is a GGUF, a real one. SIGTERM ends it as a cluster does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from server.cluster.deployments import Deployment, DeploymentState, LinkAddress
from server.cluster.link.announcements import Announcements, encoded, key_of
from server.cluster.replica import replica_link, replica_service
from server.cluster.replica.replica_service import ReplicaService
from server.ipc.launch import worker_command
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.policy import Policy
from server.supervisor.supervisor import Supervisor
from tests.server.supervisor.conftest import QUICK, scripted_command

GRACE_S = 10.0
MAX_ONGOING = 12


def folder_of(model: Path) -> Path:
    """The folder with the addresses of API processes, as a cluster keeps them."""
    return model.with_name("apis")


# --- the replica ---


async def serve(mark: Path, model: Path) -> None:
    """Serve until SIGTERM; `mark` is there as soon as it does."""
    entry = CatalogueEntry(name="one", path=model, type="Q8_0", size_bytes=1, created=1)
    is_real = model.suffix == ".gguf"
    options = ServeOptions(ctx=512, threads=1) if is_real else ServeOptions()

    def spec_of(entry: CatalogueEntry) -> ModelSpec:
        return ModelSpec(name=entry.name, path=str(entry.path), options=options)

    announcements, folder = Announcements(), folder_of(model)

    async def addresses() -> Sequence[LinkAddress]:
        found = {}
        for path in folder.glob("[!.]*"):
            with contextlib.suppress(FileNotFoundError):
                found[path.name] = path.read_bytes()
        return announcements.live({name: data for name, data in found.items() if data}, time.monotonic())

    replica_service.LOOK_S = replica_service.CALM_LOOK_S = replica_link.RETRY_S = 0.05
    policy, command = (Policy(), worker_command) if is_real else (QUICK, scripted_command)
    supervisor = Supervisor(Catalogue((entry,), lambda: ()), spec_of, policy=policy, command=command)
    service = ReplicaService(supervisor, deployment="ones", max_ongoing=MAX_ONGOING, version="1")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await service.start(addresses)
    mark.touch()  # noqa: ASYNC240 - once
    await ended.wait()
    await service.stop(GRACE_S)


# --- whoever starts it ---


@dataclass
class ReplicaProcess:
    """A replica that was started."""

    mark: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, model: Path, n: int) -> list[ReplicaProcess]:
        """Start so many replicas of a model, and wait until they serve."""
        folder_of(model).mkdir(exist_ok=True)
        replicas = []
        for number in range(n):
            mark = Path(f"{model}.{number}")
            mark.unlink(missing_ok=True)
            command = [sys.executable, "-m", "tests.server.cluster.replica_process", str(mark), str(model)]
            replicas.append(cls(mark, subprocess.Popen(command)))
        for replica in replicas:
            while not replica.mark.exists():
                assert replica.alive, "the replica has ended"
                time.sleep(0.02)
        return replicas

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def worker_pid(self) -> int:
        children = psutil.Process(self.process.pid).children(recursive=True)
        (worker,) = (child.pid for child in children if "scripted_worker" in " ".join(child.cmdline()))
        return worker

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class ScriptedCluster:
    """A `Cluster` with one deployment."""

    replicas: list[ReplicaProcess] = field(default_factory=list)
    state: DeploymentState = "ready"
    is_deaf: bool = False

    async def deployments(self) -> Sequence[Deployment]:
        self._check()
        return [
            Deployment(name="ones", model="one", state=self.state, version="1", n_replicas=len(self.alive))
        ]

    async def announce(self, address: LinkAddress, n_renewals: int) -> None:
        self._check()
        for path in self._paths(address):
            partial = path.with_name(f".{path.name}")
            partial.write_bytes(encoded(address, n_renewals))
            partial.replace(path)

    async def withdraw(self, address: LinkAddress) -> None:
        self._check()
        for path in self._paths(address):
            path.unlink(missing_ok=True)

    @property
    def alive(self) -> list[ReplicaProcess]:
        return [replica for replica in self.replicas if replica.alive]

    def _paths(self, address: LinkAddress) -> set[Path]:
        return {folder_of(replica.mark) / key_of(address) for replica in self.replicas}

    def _check(self) -> None:
        if self.is_deaf:
            raise ConnectionError("nobody is there")


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
