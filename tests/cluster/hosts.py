"""Hosts on one machine: network namespaces on a bridge, without a route to anywhere else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"


@dataclass(frozen=True)
class Host:
    """One namespace with an address, a CORRAL_HOME and a folder for Ray's sockets of its own."""

    number: int
    prefix: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The namespace's name."""
        return f"{self.prefix}{self.number}"

    @property
    def address(self) -> str:
        """Its address on the bridge."""
        return f"{NETWORK}.{self.number}"

    @property
    def home(self) -> Path:
        """Its CORRAL_HOME."""
        return self.folder / "home"

    def variables(self) -> dict[str, str]:
        """Return the environment of its processes."""
        own = {"CORRAL_HOME": str(self.home), "RAY_TMPDIR": str(self.folder / "r"), **self.environment}
        return {**os.environ, **own}

    def command(self, *arguments: str) -> list[str]:
        """Return a command as it runs in this namespace."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a process here, whose output goes to a file."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self.command(*arguments),
                env=self.variables(),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def run(self, *arguments: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def pids(self) -> list[int]:
        """Return the processes in this namespace."""
        found = _ip("netns", "pids", self.name)
        return [int(pid) for pid in found.stdout.split()]

    def kill(self, words: Sequence[str] = ()) -> list[int]:
        """Send SIGKILL to its processes with all of `words` in their command line; return them."""
        killed = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if all(word in command for word in words):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        return killed

    def cut(self) -> None:
        """Take its cable away: no FIN, no RST."""
        _ip("link", "set", f"{self.name}v", "down")

    def mend(self) -> None:
        """Plug its cable in again."""
        _ip("link", "set", f"{self.name}v", "up")


def reason_for_none() -> str | None:
    """Return why hosts can't be made here, or None."""
    if shutil.which("ip") is None:
        return "`ip` isn't installed"
    probe = f"ct{os.getpid()}"
    made = _ip("netns", "add", probe)
    _ip("netns", "del", probe)
    return None if made.returncode == 0 else f"no network namespace can be made: {made.stderr.strip()}"


@contextlib.contextmanager
def hosts(count: int, folder: Path, environment: Mapping[str, str]) -> Iterator[list[Host]]:
    """Yield hosts on a bridge; take them, and whatever still runs in them, away at the end."""
    prefix = f"c{os.getpid() % 100_000}h"
    bridge = f"{prefix}b"
    made = [Host(n, prefix, folder / str(n), environment) for n in range(1, count + 1)]
    try:
        _ip("link", "add", bridge, "type", "bridge", check=True)
        _ip("link", "set", bridge, "up", check=True)
        for host in made:
            host.home.mkdir(parents=True)
            (host.folder / "r").mkdir()
            _ip("netns", "add", host.name, check=True)
            _ip(
                *("link", "add", f"{host.name}v", "type", "veth", "peer", "name", "eth0"),
                *("netns", host.name),
                check=True,
            )
            _ip("link", "set", f"{host.name}v", "master", bridge, "up", check=True)
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0", check=True)
            _ip("-n", host.name, "link", "set", "eth0", "up", check=True)
            _ip("-n", host.name, "link", "set", "lo", "up", check=True)
        yield made
    finally:
        for host in made:
            for _ in range(20):
                if not host.kill():
                    break
                time.sleep(0.1)
            _ip("netns", "del", host.name)
        _ip("link", "del", bridge)


def _ip(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=check)
