"""`ControllingTerminal`: tells if the terminal that a process was started in is still there."""

from __future__ import annotations

import os


class ControllingTerminal:
    """Notes whether there is one when it is made.

    SIGHUP has two meanings: the terminal was closed, or somebody wants the settings to be read again. Before
    it sends the first, the kernel takes the terminal from its processes, so that `/dev/tty` can't be opened.
    """

    def __init__(self) -> None:
        self._was_there = _is_there()

    @property
    def is_closed(self) -> bool:
        """True if there was one and it is gone."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
