"""Child processes of our own modules: their command, a question to one, its failures in words.

Native code that may crash or hang runs in such a child: it takes nothing else with it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

EXIT_UNWRITABLE = 5
"""The exit status of a child of ours that couldn't write its files."""
EXIT_DISK_FULL = 6
"""The exit status of one that had no room for them."""


class ChildFailed(Exception):
    """A child that gave no answer. `text` fits after "the process …"."""

    def __init__(self, text: str, returncode: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.returncode = returncode
        """The child's exit status, minus the signal that ended it; None if it didn't start or end in time."""


class ChildTimedOut(ChildFailed):
    """A child that took too long, and was killed."""


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours in this interpreter.

    `-P`: Python would search the working directory first, and a `server.py` of the user's that lies there
    would be run in place of ours.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def ask_child(command: Sequence[str], timeout_s: float, parse: Callable[[Any], T]) -> T:
    """Run `command` and return what `parse` makes of the JSON in its last line of output.

    A driver may print before that line. Blocks, at most `timeout_s` seconds. Raises ChildFailed: the child
    doesn't start, ends with an error or too late, or answers what is no JSON or makes `parse` raise a
    ValueError, KeyError, TypeError or AttributeError.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ChildTimedOut(f"took longer than {timeout_s:g} s") from None
    except OSError as error:
        raise ChildFailed(f"doesn't start: {error}") from error
    if done.returncode != 0:
        raise ChildFailed(describe_exit(done.returncode, done.stderr), done.returncode)
    try:
        return parse(json.loads(last_line(done.stdout)))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ChildFailed(f"answered nonsense: {done.stdout[:200]!r}", done.returncode) from None


def end_child(child: subprocess.Popen[bytes]) -> None:
    """Kill and reap a child, and close its pipes. Closing stdin alone would end it only once it is idle."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what it never read
                pipe.close()


def describe_exit(returncode: int, stderr: str = "") -> str:
    """Return "died of SIGSEGV" or "failed with status 1: stderr's last line"; fits after "the process …"."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    detail = f": {lines[-1][:300]}" if lines else ""
    if returncode < 0:
        return f"died of {signal_name(-returncode)}{detail}"
    return f"failed with status {returncode}{detail}"


def last_line(stdout: str) -> str:
    """Return the last line that isn't blank, "" if there is none."""
    return next((line.strip() for line in reversed(stdout.splitlines()) if line.strip()), "")


def signal_name(number: int) -> str:
    """Return "SIGSEGV" for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
