"""Why a worker process ended, in one line for a user. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

_HINTS = {
    "SIGKILL": "the system may have run out of memory: lower --ctx or --parallel, or take a smaller type",
    "SIGILL": "llama.cpp was built for another CPU: run `corral doctor`",
    "SIGSEGV": "run `corral doctor` to test llama.cpp on this machine",
    "SIGBUS": "the model file may have been truncated while it was in use",
}
_TELLING = (
    "GGML_ASSERT",
    "ggml_abort",
    "CUDA error",
    "out of memory",
    "failed to allocate",
    "terminate called",
)
_MAX_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class ExitReport:
    """How a process ended. `returncode` is subprocess's: below 0 is a signal."""

    returncode: int
    stderr: tuple[str, ...] = ()
    """Its last lines."""
    verdict: str | None = None
    """Why the supervisor ended it, if it did."""

    @property
    def signal_name(self) -> str | None:
        if self.returncode >= 0:
            return None
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:
            return f"signal {-self.returncode}"

    @property
    def how(self) -> str:
        """`SIGKILL`, `SIGABRT: GGML_ASSERT(…) failed`, `exit status 1: …`."""
        ended = self.signal_name or f"exit status {self.returncode}"
        reason = self.verdict or telling_line(self.stderr)
        return f"{ended}: {reason}" if reason else ended

    @property
    def hint(self) -> str | None:
        """What to do about it, where that is known."""
        if self.verdict:
            return None
        return _HINTS.get(self.signal_name or "")


def telling_line(lines: Sequence[str]) -> str | None:
    """The line that says why: llama.cpp's assertion or allocation message, else a traceback's last line."""
    for line in reversed(lines):
        if any(mark in line for mark in _TELLING):
            return _shortened(line)
    for index in reversed(range(len(lines))):
        if lines[index].startswith("Traceback "):
            said = [line for line in lines[index:] if line.strip()]
            return _shortened(said[-1])
    return None


def _shortened(line: str) -> str:
    text = line.strip()
    return text if len(text) <= _MAX_REASON_CHARS else text[: _MAX_REASON_CHARS - 1] + "…"
