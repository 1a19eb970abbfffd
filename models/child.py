"""How a child process ended, in words."""

from __future__ import annotations

import signal


def describe_exit(returncode: int, stderr: str = "") -> str:
    """ "died of SIGSEGV" or "failed with status 1: the last line of stderr"; fits after "the process …"."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    detail = f": {lines[-1][:300]}" if lines else ""
    if returncode < 0:
        return f"died of {signal_name(-returncode)}{detail}"
    return f"failed with status {returncode}{detail}"


def signal_name(number: int) -> str:
    """ "SIGSEGV" for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
