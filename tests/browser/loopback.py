"""`Loopback`: a network namespace with nothing but loopback, in which a server and a browser run.

What would go anywhere else has no way: a page that loads something foreign shows it by failing.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from types import TracebackType
from typing import Self

_UP = (
    "import fcntl,socket,struct,sys,time\n"
    "s=socket.socket()\n"
    "fcntl.ioctl(s,0x8914,struct.pack('16sh',b'lo',0x41))\n"
    "print('up',flush=True)\n"
    "sys.stdin.read()\n"
)


class Loopback:
    """A namespace lives as long as a process that waits in it. Without the right to one there is none."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if can_isolate():
            self._process = subprocess.Popen(
                [*_unshare(), sys.executable, "-c", _UP], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"up\n"

    @property
    def is_isolated(self) -> bool:
        """True if nothing but loopback is there."""
        return self._process is not None

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that runs another one there."""
        if self._process is None:
            return ()
        user = () if os.getuid() == 0 else ("--user", "--preserve-credentials")
        return ("nsenter", "--target", str(self._process.pid), "--net", *user, "--")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate(b"")


@functools.cache
def can_isolate() -> bool:
    """True if this machine lets us make a network namespace."""
    try:
        return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _unshare() -> tuple[str, ...]:
    user = () if os.getuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", "--net", *user, "--")
