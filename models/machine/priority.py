"""Processes and threads that give way to the others of this machine."""

from __future__ import annotations

import contextlib
import os
import sys

_LOWEST = 19
_LOW = 10


def take_what_is_left(pid: int) -> None:
    """Let a process have only the time of cores that nobody else wants. There is no way back.

    On Linux it may be a single thread, by its native id. Linux has a class for it: whoever else wakes has the
    core at once. Elsewhere, and where that is forbidden, the lowest priority comes near it. What has ended is
    no error.
    """
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "linux":
            with contextlib.suppress(PermissionError, OSError):
                os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
                return
        os.setpriority(os.PRIO_PROCESS, pid, _LOWEST)


def give_way(thread_id: int) -> None:
    """Let a thread of this process, by its native id, have a tenth of what another one gets of a core.

    It isn't less: the thread may hold Python's lock when it is made to wait. Only Linux has priorities of
    threads; elsewhere nothing happens. There is no way back.
    """
    if sys.platform == "linux":
        with contextlib.suppress(ProcessLookupError):
            already = os.getpriority(os.PRIO_PROCESS, thread_id)  # of a server under `nice`, and no way back
            os.setpriority(os.PRIO_PROCESS, thread_id, max(already, _LOW))
