"""Limits of this process that the kernel enforces, so that they hold inside native code too."""

from __future__ import annotations

import contextlib
import resource
import signal


def limit_memory(n_bytes: int) -> None:
    """Bound the address space and the data of this process to `n_bytes`, and have it leave no core file.

    A lower bound that is there stays. A system without such limits has none afterwards.
    """
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _, hard = resource.getrlimit(limit)
        ceiling = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (ceiling, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_timers(cpu_s: float, wall_s: float) -> None:
    """Have the process end by SIGPROF after `cpu_s` of computing, by SIGALRM after `wall_s`; 0: no longer."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)
