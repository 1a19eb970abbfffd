"""A client's run with an empty HOME, no network but loopback, and a relay to the server as its one way out.

Outside, the relay listens on a unix socket, passes bytes to the server and records the exchanges. Inside a
network namespace of its own, this file as a program listens on 127.0.0.1 and passes bytes to that socket.
Where no namespace can be made, the client runs beside us and only the relay stands between.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.clients.traffic import Connection, Exchange

INSIDE_PORT = 8000
TIMED_OUT = 124
"""The exit code of a client that was ended because it took too long."""
ADDRESS = "{URL}"
"""In a client's arguments and environment this stands for the address that it is to call."""

_ENTRANCE = 'mount --bind "$1" "$1" && mount -o remount,bind,ro / && shift && exec "$@"'
"""Only the folder that is given first can be written to: a model of random weights runs commands, too."""

_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


@dataclass(frozen=True)
class ClientRun:
    """The outcome of one run of a client."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    isolated: bool
    exchanges: list[Exchange]


def run_client(
    argv: Sequence[str],
    server: tuple[str, int],
    home: Path,
    folder: Path,
    env: Mapping[str, str],
    timeout_s: float,
) -> ClientRun:
    """Run a client in `folder` to its end, or to the end of its time. It gets no environment but `env`.

    It can write to the folder that holds `home`, and nowhere else.
    """
    from tests.clients.traffic import Connection  # as a program, this file knows no packages

    exchanges: list[Exchange] = []
    prefix = namespace_command()
    with tempfile.TemporaryDirectory(prefix="door-") as place, socket.socket(_family(prefix)) as door:
        door.bind(f"{place}/door" if prefix else ("127.0.0.1", 0))
        port = INSIDE_PORT if prefix else door.getsockname()[1]
        command = [*prefix, str(home.parent), sys.executable, __file__, f"{place}/door"] if prefix else []
        (home.parent / "tmp").mkdir(exist_ok=True)
        door.listen(64)
        relay = Relay(door, server, lambda: Connection(exchanges))
        relay.start()
        url = f"http://127.0.0.1:{port}"
        clean = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home.parent / "tmp"),
            "TERM": "dumb",
            "LANG": "C.UTF-8",
        }
        clean |= {name: value.replace(ADDRESS, url) for name, value in env.items()}
        start_s = time.monotonic()
        with subprocess.Popen(
            [*command, *(word.replace(ADDRESS, url) for word in argv)],
            cwd=folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
                code = process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                code = TIMED_OUT
        seconds = round(time.monotonic() - start_s, 1)
        relay.stop()
    return ClientRun(code, out, err, seconds, bool(prefix), exchanges)


def _family(prefix: Sequence[str]) -> socket.AddressFamily:
    return socket.AF_UNIX if prefix else socket.AF_INET


@functools.cache
def namespace_command() -> tuple[str, ...]:
    """Return the command that runs another in namespaces of its own; empty where none can be made."""
    user = () if os.getuid() == 0 else ("--user", "--map-root-user")
    command = ("unshare", "--net", "--mount", *user, "--", "sh", "-c", _ENTRANCE, "sh")
    with suppress(OSError), tempfile.TemporaryDirectory() as folder:
        if subprocess.run([*command, folder, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return ()


class Relay:
    """Passes bytes between those who call a socket and a server, in a thread of its own."""

    def __init__(
        self,
        door: socket.socket,
        server: tuple[str, int] | str,
        recorder: Callable[[], Connection] | None = None,
    ) -> None:
        """`recorder` makes the record of each connection."""
        self._door, self._server, self._recorder = door, server, recorder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        if self._door.family == socket.AF_UNIX:
            self._loop.run_until_complete(asyncio.start_unix_server(self._handle, sock=self._door))
        else:
            self._loop.run_until_complete(asyncio.start_server(self._handle, sock=self._door))
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._server, str):
                there = await asyncio.open_unix_connection(self._server)
            else:
                there = await asyncio.open_connection(*self._server)
        except OSError:
            writer.close()
            return
        passing = None if self._recorder is None else self._recorder()
        up = None if passing is None else passing.feed_up
        down = None if passing is None else passing.feed_down
        await asyncio.gather(_pump(reader, there[1], up), _pump(there[0], writer, down))
        if passing is not None:
            passing.close()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None] | None
) -> None:
    """Pass on what comes; when one direction ends the other does, so that a server sees its client go."""
    try:
        while data := await reader.read(65536):
            if note is not None:
                note(data)
            writer.write(data)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


def main() -> None:
    """Run `isolation.py DOOR ARGV…` inside a namespace: loopback up, a way to DOOR, then ARGV to its end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP | _IFF_RUNNING))
    Relay(socket.create_server(("127.0.0.1", INSIDE_PORT)), sys.argv[1]).start()
    sys.exit(subprocess.run(sys.argv[2:], check=False).returncode)


if __name__ == "__main__":
    main()
