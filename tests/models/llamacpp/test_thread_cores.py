"""Each thread that computes has a core of its own, and nothing else of the process stays there with it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.llamacpp import thread_cores
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.llamacpp.thread_cores import cores_for
from tests.models.llamacpp.prefill import PROMPT, prefill

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has affinities")
CORES = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else (0,)


def in_a_thread(work: Callable[[], Any]) -> Any:
    """Return what `work` gives in a thread of its own, which has threads of OpenMP of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def tasks() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


@pytest.mark.model
@pytest.mark.skipif(len(CORES) < 2, reason="one core")
def test_threads_stay_apart_and_the_caller_is_free(pico: Model) -> None:
    if not cores_for(len(CORES), len(CORES)):
        pytest.skip("llama.cpp was built without OpenMP, or it is set by the environment")

    def work() -> Any:
        with Context(pico, n_ctx=256, n_threads=len(CORES), cores=CORES) as context:
            before = tasks()
            first = prefill(context, 0, PROMPT)
            team = tasks() - before
            apart = sorted(tuple(os.sched_getaffinity(task)) for task in team)
            free = os.sched_getaffinity(0)
            context.reopen(kv_unified=True)
            again = prefill(context, 0, PROMPT)
            return apart, free, first, again

    apart, free, first, again = in_a_thread(work)
    assert apart == [(core,) for core in CORES[1:]]
    assert free == set(CORES)
    with Context(pico, n_ctx=256, n_threads=len(CORES)) as context:
        plain = prefill(context, 0, PROMPT)
    assert np.array_equal(first, plain)
    assert np.array_equal(again, plain)


@linux
@pytest.mark.parametrize(
    ("mine", "threads", "batch", "expected"),
    [
        ({0, 1}, 2, 2, (0, 1)),
        ({2, 3, 6, 7}, 4, 4, (2, 3, 6, 7)),
        ({0, 1, 2, 3}, 2, 2, ()),  # the system has a choice
        ({0, 1}, 2, 4, ()),
        ({0, 1}, 4, 4, ()),
        ({0}, 1, 1, ()),
        ({0, 700}, 2, 2, ()),  # llama.cpp's masks end before
    ],
)
def test_cores_are_given_where_there_is_a_thread_for_each(
    monkeypatch: pytest.MonkeyPatch, mine: set[int], threads: int, batch: int, expected: tuple[int, ...]
) -> None:
    for name in ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(thread_cores, "_has_openmp", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: mine)
    assert cores_for(threads, batch) == expected
    monkeypatch.setenv("OMP_PLACES", "cores")
    assert cores_for(threads, batch) == ()
