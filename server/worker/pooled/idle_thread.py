"""`IdleThread`: computes with what others leave of the cores, while another model writes an answer.

Threads of a decode inherit the priority of the one that starts them, and libgomp keeps a team for each such
thread: so decodes from here have a team of low priority, those of the engine's own thread one of the usual.
Nothing has to be given a higher priority again, which the system forbids.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from models.machine.priority import take_what_is_left


class IdleThread:
    """A thread that is started when it is needed first. One caller at a time."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    def run(self, act: Callable[[], None]) -> None:
        """Do `act` with what others leave, and wait for its end. Raises what it raises."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(
                1, "idle", lambda: take_what_is_left(threading.get_native_id())
            )
        self._executor.submit(act).result()
