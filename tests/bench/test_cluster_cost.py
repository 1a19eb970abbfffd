"""The processor time of a process, and the lines that tell of it."""

from __future__ import annotations

import os
import time

from bench.cluster_cost import line_of, spent


def burn() -> int:
    """Use a processor for 50 ms."""
    end_s = time.process_time() + 0.05
    while time.process_time() < end_s:
        pass
    return 3


def rest() -> int:
    """Use none for 100 ms."""
    time.sleep(0.1)
    return 0


def test_the_processor_time_of_a_process_is_counted_and_no_waiting() -> None:
    busy_s, took_s, count = spent([os.getpid()], burn)
    assert count == 3
    assert 0.03 <= busy_s[0] <= took_s + 0.03
    idle_s, took_s, _ = spent([os.getpid()], rest)
    assert took_s >= 0.1
    assert idle_s[0] <= 0.05


def test_a_line_has_the_sum_and_each_part() -> None:
    assert line_of("a chunk", [0.2, 0.1], 100) == "a chunk: 3.00 ms (2.00 + 1.00)"
