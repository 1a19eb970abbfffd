"""Commands of `corral` in forks of a process that has its modules: a second of imports is paid once.

Each has a process of its own, with its own environment, folder and standard streams, and ends as the program
does. Its command line, as others see it, is that of the process it was forked from: what is about processes
starts the program itself.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

IMPORTED = (
    "gguf",
    "httpx",
    "models.store.store",
    "quantize.evaluate.service",
    "server.config",
    "tqdm",
    "yaml",
)
UNTOUCHED = "huggingface_hub"
"""This one reads its environment when it is imported, so each command does that itself."""
HEAD_BYTES = 1 << 20
"""A request is shorter: arguments and an environment."""


class WarmCommands:
    """The process that forks. It ends when this is left."""

    def __init__(self, prefix: Sequence[str] = (), env: Mapping[str, str] | None = None) -> None:
        """`prefix` begins its command line; it starts with `env`, or with this process's environment."""
        self._prefix, self._env = prefix, env
        self._folder = tempfile.TemporaryDirectory()
        self._path = str(Path(self._folder.name) / "s")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", "tests.warm_commands", self._path],
            cwd=Path(__file__).parents[1],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)
        self._folder.cleanup()

    def run(
        self, arguments: tuple[str, ...], env: Mapping[str, str], *, stdin: str = "", timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, as `subprocess.run` does."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin.encode())
            given.seek(0)
            status = self._status(arguments, env, [each.fileno() for each in (given, out, err)], timeout_s)
            texts = []
            for each in (out, err):
                each.seek(0)
                texts.append(each.read().decode(errors="replace"))
        return subprocess.CompletedProcess(["corral", *arguments], status, *texts)

    def _status(
        self, arguments: tuple[str, ...], env: Mapping[str, str], streams: list[int], timeout_s: float
    ) -> int:
        head = json.dumps({"arguments": arguments, "env": dict(env), "folder": str(Path.cwd())}).encode()
        assert len(head) < HEAD_BYTES
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HEAD_BYTES)
            connection.connect(self._path)
            socket.send_fds(connection, [head], streams)
            pid = int(connection.recv(20))
            connection.settimeout(timeout_s)
            try:
                return os.waitstatus_to_exitcode(int(connection.recv(20)))
            except TimeoutError as error:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["corral", *arguments], timeout_s) from error


def wait_for_command(path: str) -> None:
    """Fork for each request; return in the command's own process, made ready, and else end with stdin."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the minders' ends are nobody's concern
        while True:
            if sys.stdin in select.select([sys.stdin, listener], [], [])[0]:
                sys.exit()
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    with connection:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        head, streams, _, _ = socket.recv_fds(connection, HEAD_BYTES, 3)
        pid = os.fork()
        if pid:
            connection.send(str(pid).encode())
            connection.send(str(os.waitpid(pid, 0)[1]).encode())
            os._exit(0)
    become(json.loads(head), streams)


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Take on the standard streams, folder, environment and arguments of a request."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["arguments"]


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    assert UNTOUCHED not in sys.modules
    from server.cli.program import main

    wait_for_command(sys.argv[1])
    sys.exit(main())
