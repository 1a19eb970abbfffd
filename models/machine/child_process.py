"""What a child process answered, and how it ended, in words."""

from __future__ import annotations

import signal


def describe_exit(returncode: int, stderr: str = "") -> str:
    """ "died of SIGSEGV" or "failed with status 1: the last line of stderr"; fits after "the process …"."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    detail = f": {lines[-1][:300]}" if lines else ""
    if returncode < 0:
        return f"died of {signal_name(-returncode)}{detail}"
    return f"failed with status {returncode}{detail}"


def last_line(stdout: str) -> str:
    """The last line that isn't blank, "" if there is none: a driver may print before the answer."""
    return next((line.strip() for line in reversed(stdout.splitlines()) if line.strip()), "")


def signal_name(number: int) -> str:
    """ "SIGSEGV" for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
