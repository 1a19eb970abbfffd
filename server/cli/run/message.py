"""The one message of `corral run`: its arguments, and what a pipe brings."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence

from models.errors import ConfigError


def is_conversation() -> bool:
    """True if somebody sits at a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def message_of(words: Sequence[str]) -> str | None:
    """Return the arguments as a message, and below them what a pipe or a file brings; None without either.

    Raises ConfigError for a message that is empty.
    """
    piped = _piped()
    parts = [part for part in (" ".join(words).strip(), (piped or "").strip()) if part]
    if parts:
        return "\n\n".join(parts)
    if words or piped is not None:
        raise ConfigError("the message is empty; give a PROMPT, or text on stdin")
    return None


def _piped() -> str | None:
    """Return all of stdin where it is a pipe, a socket or a file; None for a terminal, /dev/null or none."""
    if sys.stdin is None:
        return None
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return None
    return sys.stdin.buffer.read().decode("utf-8", "replace")
