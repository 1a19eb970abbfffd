"""`ThreadCores`: a core of its own for each thread that computes.

Linux moves a thread that shares its core to a free one only now and then, and not at all soon where the other
core has work of the lowest class. Two threads that wait for each other at a thousand barriers are then on one
core for 40 ms, a step of 10 ms takes as long, and the gap is seen in every stream. llama.cpp's thread pools
can give each thread one core; OpenMP's own setting would keep the process's other threads there as well.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from models.errors import LlamaCppError
from models.llamacpp import library

_MAX_CORES: Final = 512  # GGML_MAX_N_THREADS
_OPENMP_SETTINGS: Final = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")


class _Params(ctypes.Structure):
    """The C struct ggml_threadpool_params."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * _MAX_CORES),
        ("n_threads", ctypes.c_int),
        ("priority", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


class ThreadCores:
    """Two of llama.cpp's thread pools: one has a thread on each core, one lets them go anywhere.

    It belongs to one context, whose thread calls it, and must be closed after the context.
    """

    def __init__(self, cores: Sequence[int]) -> None:
        """`cores`: two or more, one for each thread. Raises LlamaCppError: this build has no such pools."""
        self.cores = tuple(cores)
        self._attach = library.bind("llama_attach_threadpool", None, *(ctypes.c_void_p,) * 3)
        self._free = library.bind("ggml_threadpool_free", None, ctypes.c_void_p)
        self._apart = _new_pool(cores, strict=True)
        self._anywhere = _new_pool(cores, strict=False)

    def attach(self, context: int, n_threads: int) -> None:
        """Use a pool in a llama_context* from its next decode on: fewer threads may go anywhere."""
        pool = self._apart if n_threads == len(self.cores) else self._anywhere
        self._attach(context, pool, pool)

    def release(self) -> None:
        """Let the calling thread, which is one of those that compute, go anywhere until its next decode.

        Threads and processes that it starts in between would else stay on its core.
        """
        os.sched_setaffinity(0, self.cores)

    def close(self) -> None:
        """Free the pools. Safe to call twice."""
        for pool in (self._apart, self._anywhere):
            if pool:
                self._free(pool)
        self._apart = self._anywhere = None


def _new_pool(cores: Sequence[int], *, strict: bool) -> int | None:
    params = _Params()
    library.bind("ggml_threadpool_params_init", None, ctypes.c_void_p, ctypes.c_int)(
        ctypes.byref(params), len(cores)
    )
    for core in cores:
        params.cpumask[core] = True
    params.strict_cpu = strict
    pool: int | None = library.bind("ggml_threadpool_new", ctypes.c_void_p, ctypes.c_void_p)(
        ctypes.byref(params)
    )
    if not pool:
        raise LlamaCppError("llama.cpp could not make a thread pool")
    return pool


def cores_for(n_threads: int, n_threads_batch: int) -> tuple[int, ...]:
    """Return the cores on which so many threads may stay, one on each; none where that isn't for us to say.

    It is where they are as many as the cores that this process may use: with fewer the system has a choice.
    A user's setting of OpenMP wins, and a build without it has threads of its own in each pool.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OPENMP_SETTINGS):
        return ()
    cores = tuple(sorted(os.sched_getaffinity(0)))
    if len(cores) < 2 or not n_threads == n_threads_batch == len(cores) or cores[-1] >= _MAX_CORES:
        return ()
    return cores if _has_openmp() else ()


def _has_openmp() -> bool:
    native: Any = library.load()
    return b"OPENMP = 1" in native.llama_print_system_info()
