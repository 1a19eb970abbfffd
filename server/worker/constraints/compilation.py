"""`compiled_apart`: work in a thread of its own, without Python's lock, that gives way if it is long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from models.machine.allowance import Allowance
from models.machine.priority import give_way

T = TypeVar("T")


def compiled_apart(work: Callable[[], T], allowance: Allowance) -> tuple[T, float]:
    """Return what `work` returns, or raise what it raises, and the seconds of computing that it took.

    It has the priority of any other thread for as long as `allowance` offers, and a low one afterwards. A
    thread can't have its priority back, so each piece of work has a thread of its own.
    """
    thread_ids: list[int] = []

    def run() -> tuple[T, float]:
        thread_ids.append(threading.get_native_id())
        begin = time.thread_time()
        result = work()
        return result, time.thread_time() - begin

    quick_s, begin = allowance.offer(), time.monotonic()
    with ThreadPoolExecutor(1, "grammar") as thread:
        future = thread.submit(run)
        if not wait([future], quick_s).done and thread_ids:
            give_way(thread_ids[0])
        try:
            return future.result()
        finally:
            allowance.spend(min(quick_s, time.monotonic() - begin))
