"""`ChildProcesses`: the processes that a test started; those of earlier tests may still live beside them."""

from __future__ import annotations

import psutil


class ChildProcesses:
    """The processes that this one has started since this was made."""

    def __init__(self) -> None:
        self._before = set(psutil.Process().children())

    @property
    def alive(self) -> list[psutil.Process]:
        """Those that haven't ended, with zombies."""
        return [child for child in psutil.Process().children() if child not in self._before]
