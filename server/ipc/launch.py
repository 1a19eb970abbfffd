"""The command line and the environment of a worker, for those that start one.

Nothing native is loaded here. libgomp reads its settings when it is loaded, so they must be in the
environment before the process starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from models.machine.child_process import module_command
from models.machine.hardware import available_cores
from server.ipc.model_spec import ModelSpec

SPIN_COUNT = 4_000
"""A waiting thread spins this many turns before it sleeps; each is one `pause`, 10 to 100 nanoseconds.

Spinning for ever is fastest on an idle machine and many times slower as soon as anything else wants a core;
sleeping at once costs a wake-up at each of the thousand barriers of a decode. Tokens per second of a 134 M
Q4_K_M model, 2 threads on 2 cores (one of them leaves now, see `adaptive_threads`), 1 and 8 sequences:

| turns         | idle machine | beside a compiler and other workers |
| ------------- | ------------ | ----------------------------------- |
| 0             | 103, 251     | 48 to 72, 86 to 134                 |
| 1,000         | 246, 355     | 43 to 65, 77 to 168                 |
| 5,000         | 262, 361     | 17 to 22, 50 to 101                 |
| 20,000        | 263, 325     | 8 to 15, 23 to 43                   |
| never sleeps  | 263, 351     | 9 to 12, 45 to 72                   |
"""


def worker_command(fd: int) -> list[str]:
    """Return the command line of a worker whose end of the socket pair is the inherited descriptor `fd`."""
    return module_command("server.worker", "--fd", str(fd))


def worker_environment(
    spec: ModelSpec, base: Mapping[str, str] = os.environ, spin_count: int = SPIN_COUNT
) -> dict[str, str]:
    """Return `base` with the thread settings of a worker for `spec`; what the user set there wins.

    More threads than CPUs sleep at once, whatever `spin_count` says.
    """
    environment = dict(base)
    if "OMP_WAIT_POLICY" not in environment:
        crowded = max(spec.options.threads or 0, spec.options.threads_batch or 0) > available_cores()
        environment.setdefault("GOMP_SPINCOUNT", "0" if crowded else str(spin_count))
    environment.setdefault("PYTHONUNBUFFERED", "1")
    return environment
