"""The last lines a worker wrote to stderr, kept for the message about its end; all of them go to our log."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

logger = logging.getLogger("corral.worker")

N_LINES = 60
MAX_LINE_BYTES = 8192


class StderrTail:
    """`read` runs until the pipe closes; `lines` may be asked for at any time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: deque[str] = deque(maxlen=N_LINES)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    async def read(self, pipe: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await pipe.read(MAX_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-MAX_LINE_BYTES:]
            for line in lines:
                self._note(line)
        self._note(rest)

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip()
        if text:
            self._lines.append(text)
            logger.info("%s: %s", self._name, text)
