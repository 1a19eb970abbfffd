"""`ExitReport`: how and why a worker process ended, in one line for a user. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

_HINTS = {
    "SIGKILL": "the system may have run out of memory: lower --ctx or --parallel, or take a smaller type",
    "SIGILL": "llama.cpp was built for another CPU: run `corral doctor`",
    "SIGSEGV": "run `corral doctor` to test llama.cpp on this machine",
    "SIGBUS": "the model file may have been truncated while it was in use",
}
_ABORT_MARK = "llama.cpp aborted: "
"""The reason of each of ggml's aborts stands behind this, see `models.llamacpp.library`."""
_RPC_MARK = "ggml-rpc"
"""The file of llama.cpp in which it aborts where a server of its RPC fails."""
_REASON_MARKS = (
    "GGML_ASSERT",
    "ggml_abort",
    "CUDA error",
    "out of memory",
    "failed to allocate",
    "terminate called",
)
_FOLDER = re.compile(r"^\S*[/\\](?=[^/\\\s]+:\d+: )")
"""The folder of a source file, as it was where llama.cpp was built."""
_MAX_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class ExitReport:
    """The end of a process. `returncode` is subprocess's: below 0 it is a signal."""

    returncode: int
    stderr: tuple[str, ...] = ()
    """The last lines that the process wrote to stderr."""
    verdict: str | None = None
    """The supervisor ended the process for this reason, if it did."""
    servers: tuple[str, ...] = ()
    """The addresses of servers of other machines that computed a part of its model."""

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that ended it, None if none did."""
        if self.returncode >= 0:
            return None
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:
            return f"signal {-self.returncode}"

    @property
    def how(self) -> str:
        """The end in one line: `SIGKILL`, `SIGABRT: GGML_ASSERT(…) failed`, `exit status 1: …`."""
        ended = self.signal_name or f"exit status {self.returncode}"
        reason = self.verdict or reason_line(self.stderr)
        if self.is_remote and self.servers:
            reason = f"{reason}; layers are computed at {', '.join(self.servers)}"
        return f"{ended}: {reason}" if reason else ended

    @property
    def is_remote(self) -> bool:
        """True if another machine, that computes a part, failed it.

        llama.cpp ended the process for it, or the supervisor because it waited for too long.
        """
        if self.verdict is not None:
            return bool(self.servers)
        return _RPC_MARK in (reason_line(self.stderr) or "")

    @property
    def hint(self) -> str | None:
        """The advice for the user, where there is one."""
        if self.verdict:
            return None
        return _HINTS.get(self.signal_name or "")


def reason_line(lines: Sequence[str]) -> str | None:
    """Return the line that gives the reason, or None.

    It is llama.cpp's assertion or allocation message, else a traceback's last line.
    """
    for line in reversed(lines):
        _, is_abort, reason = line.partition(_ABORT_MARK)
        if is_abort:
            return _shorten(_ABORT_MARK + _FOLDER.sub("", reason, count=1))
    for line in reversed(lines):
        if any(mark in line for mark in _REASON_MARKS):
            return _shorten(line)
    for index in reversed(range(len(lines))):
        if lines[index].startswith("Traceback "):
            traceback = [line for line in lines[index:] if line.strip()]
            return _shorten(traceback[-1])
    return None


def _shorten(line: str) -> str:
    text = line.strip()
    return text if len(text) <= _MAX_REASON_CHARS else text[: _MAX_REASON_CHARS - 1] + "…"
