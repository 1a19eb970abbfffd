"""A replica in a process of its own, and the calls to it: one connection to its unix socket for each.

`ReplicaService` is the real one; the worker behind it is the supervisor tests' scripted one, or, for a file
that is a GGUF, a real one. A connection that the caller closes is a call that it cancels.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from models.errors import WorkerBusy
from server.cluster.handles import Deployment, DeploymentState, ReplicaLost, ReplyTo
from server.cluster.replica_service import ReplicaService
from server.ipc.frames import HEADER
from server.ipc.launch import worker_command
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.policy import Policy
from server.supervisor.supervisor import Supervisor
from tests.server.supervisor.conftest import QUICK, scripted_command


async def read_block(reader: asyncio.StreamReader) -> Any:
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    return msgspec.msgpack.decode(await reader.readexactly(length))


def block(value: Any) -> bytes:
    payload = msgspec.msgpack.encode(value)
    return HEADER.pack(len(payload)) + payload


# --- the replica ---


async def serve(socket_path: Path, model: Path) -> None:
    entry = CatalogueEntry(name="one", path=model, type="Q8_0", size_bytes=1, created=1)
    is_real = model.suffix == ".gguf"
    options = ServeOptions(ctx=512, threads=1) if is_real else ServeOptions()

    def spec_of(entry: CatalogueEntry) -> ModelSpec:
        return ModelSpec(name=entry.name, path=str(entry.path), options=options)

    policy, command = (Policy(), worker_command) if is_real else (QUICK, scripted_command)
    supervisor = Supervisor(Catalogue((entry,), lambda: ()), spec_of, policy=policy, command=command)
    service = ReplicaService(supervisor, version="1")

    async def on_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, *arguments = await read_block(reader)
        if method == "run":
            arguments[2] = msgspec.convert(arguments[2], ReplyTo)
        if method == "pids":
            answer: Any = supervisor.pids
        else:
            calling = asyncio.ensure_future(getattr(service, method)(*arguments))
            hanging_up = asyncio.ensure_future(reader.read())
            await asyncio.wait([calling, hanging_up], return_when=asyncio.FIRST_COMPLETED)
            if not calling.done():
                calling.cancel()
                await asyncio.wait([calling])
                return
            answer = calling.result()
        writer.write(block(answer))
        writer.close()

    await service.start()
    server = await asyncio.start_unix_server(on_call, socket_path)
    async with server:
        await server.serve_forever()


# --- its caller ---


@dataclass
class ReplicaProcess:
    """A replica that was started, as its callers see it."""

    socket_path: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, model: Path, n: int) -> list[ReplicaProcess]:
        """Start so many replicas of a model, and wait until they answer."""
        replicas = []
        for number in range(n):
            path = Path(f"{model}.{number}")
            command = [sys.executable, "-m", "tests.server.cluster.replica_process", str(path), str(model)]
            replicas.append(cls(path, subprocess.Popen(command)))
        for replica in replicas:
            while not replica.socket_path.exists():
                assert replica.alive, "the replica has ended"
                time.sleep(0.02)
        return replicas

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    async def call(self, *call: Any) -> Any:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket_path)
        except OSError as error:
            raise ReplicaLost(f"a replica can't be called: {error}") from error
        try:
            writer.write(block(call))
            return await read_block(reader)
        except (OSError, EOFError) as error:
            raise ReplicaLost("a replica's process has ended in a call") from error
        finally:
            writer.close()

    async def worker_pid(self) -> int:
        (pid,) = (await self.call("pids")).values()
        assert isinstance(pid, int)
        return pid

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class ScriptedCluster:
    """A `Cluster` with one deployment, and the `DeploymentHandle` of it."""

    replicas: list[ReplicaProcess] = field(default_factory=list)
    state: DeploymentState = "ready"
    is_deaf: bool = False
    is_full: bool = False
    keys: list[str] = field(default_factory=list)
    """The keys of all calls so far."""

    async def deployments(self) -> Sequence[Deployment]:
        if self.is_deaf:
            raise ConnectionError("nobody is there")
        return [
            Deployment(
                name="ones",
                model="one",
                state=self.state,
                handle=self,
                version="1",
                n_replicas=len(self.alive),
            )
        ]

    @property
    def alive(self) -> list[ReplicaProcess]:
        return [replica for replica in self.replicas if replica.alive]

    def choose(self, key: str) -> ReplicaProcess:
        """The place on the ring; it is noticed late that a process has ended, as a cluster does."""
        if self.is_full:
            raise WorkerBusy("all replicas are full", 3.0)
        if not self.replicas:
            raise ReplicaLost("there is no replica")
        return self.replicas[zlib.crc32(key.encode()) % len(self.replicas)]

    async def run(self, prefix_key: str, name: str, frame: bytes, reply_to: ReplyTo) -> bytes:
        self.keys.append(prefix_key)
        answer = await self.choose(prefix_key).call("run", name, frame, reply_to)
        assert isinstance(answer, bytes)
        return answer

    async def ask(self, name: str, frame: bytes) -> bytes:
        answer = await self.alive[0].call("ask", name, frame)
        assert isinstance(answer, bytes)
        return answer

    async def info(self) -> bytes:
        answer = await self.alive[0].call("info")
        assert isinstance(answer, bytes)
        return answer


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
