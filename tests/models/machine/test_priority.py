"""What gives way, seen from the kernel's books."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from models.machine.priority import give_way, take_what_is_left


def test_a_process_has_what_is_left() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        take_what_is_left(child.pid)
        if sys.platform == "linux":
            assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
        else:
            assert os.getpriority(os.PRIO_PROCESS, child.pid) == 19
        child.kill()
    take_what_is_left(child.pid)  # it has ended


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_gives_way_alone() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    after: list[int] = []

    def work() -> None:
        give_way(threading.get_native_id())
        after.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert after == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
