"""Work of the idle thread has the lowest priority; the caller keeps its own."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from server.worker.pooled.idle_thread import IdleThread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")


def test_only_the_idle_thread_takes_what_is_left() -> None:
    thread, found = IdleThread(), list[int]()
    for _ in range(2):
        thread.run(lambda: found.append(os.sched_getscheduler(threading.get_native_id())))
    assert found == [os.SCHED_IDLE] * 2
    assert os.sched_getscheduler(threading.get_native_id()) != os.SCHED_IDLE


def test_threads_that_it_starts_inherit_it() -> None:
    found: list[int] = []

    def act() -> None:
        child = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
        child.start()
        child.join()

    IdleThread().run(act)
    assert found == [os.SCHED_IDLE]


def test_what_it_raises_comes_out() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        IdleThread().run(fail)
