"""One step of the set-up: its output goes to a log, and a failure says what, where and what to do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 30


class SetUpError(Exception):
    """A step failed. The message is meant for a terminal and may have several lines."""


def say(text: str) -> None:
    """Print one line of progress, at once."""
    print(text, flush=True)


def run_step(
    what: str,
    command: Sequence[str],
    log: Path,
    fix: str,
    *,
    environ: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run `command` to its end; every line goes to `log` and to `on_line`.

    The command gets a process group of its own, which is ended if we are interrupted, so that no compiler is
    left behind. Raises SetUpError with the last lines of the log, its path and `fix`.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", errors="replace") as out:
        out.write(f"$ {' '.join(command)}\n")
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environ,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    out.write(line)
                    tail.append(line.rstrip())
                    if on_line is not None:
                        on_line(line)
                status = process.wait()
            except BaseException:
                _end_group(process)
                raise
    if status != 0:
        lines = "\n".join(f"    {line}" for line in tail)
        raise SetUpError(
            f"{what} failed (exit status {status}); the end of its log:\n{lines}\nlog: {log}\n{fix}"
        )


class ProgressLine:
    """Redraws one line on a terminal; elsewhere prints a new line now and then.

    Not for use by several threads.
    """

    def __init__(self, every_s: float = 15.0) -> None:
        self._terminal = sys.stdout.isatty()
        self._every_s = every_s
        self._start = time.monotonic()
        self._printed: float | None = None

    def elapsed_s(self) -> float:
        """Return the seconds since the line was made."""
        return time.monotonic() - self._start

    def show(self, text: str) -> None:
        """Show `text`, if a terminal is there or enough time has passed."""
        now = time.monotonic()
        if self._terminal:
            print(f"\r\x1b[K{text}", end="", flush=True)
        elif self._printed is None or now - self._printed >= self._every_s:
            print(text, flush=True)
            self._printed = now

    def end(self, text: str) -> None:
        """Replace the line by `text` and leave it."""
        print(f"\r\x1b[K{text}" if self._terminal else text, flush=True)


def _end_group(process: subprocess.Popen[str]) -> None:
    """Ask the command's process group to end; a moment later, make sure of it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
