"""Fewer threads while another program wants a core, all of them else; trials cost little."""

from __future__ import annotations

from collections.abc import Callable

from server.worker.run.adaptive_threads import LONGEST_WAIT_FOR_MORE_S, AdaptiveThreads

Machine = Callable[[int], float]


def idle(threads: int) -> float:
    return 0.020 / threads


def beside_one(threads: int, cores: int = 2) -> float:
    """All threads wait for the one that shares its core."""
    return 0.020 / threads * (5 if threads >= cores else 1)


def run(
    threads: AdaptiveThreads, machine: Machine, seconds: float, now_s: float = 0.0
) -> tuple[float, list[int]]:
    """When it is over, and the threads of each step."""
    end_s, used = now_s + seconds, []
    while now_s < end_s:
        used.append(threads.n_threads)
        took_s = machine(threads.n_threads)
        now_s += took_s
        threads.record(8, took_s, now_s)
    return now_s, used


def test_an_idle_machine_is_never_tried_with_less() -> None:
    _, used = run(AdaptiveThreads(2), idle, 10.0)
    assert set(used) == {2}


def test_a_busy_core_is_left_to_others_and_taken_back() -> None:
    threads = AdaptiveThreads(2)
    now_s, _ = run(threads, idle, 1.0)
    now_s, used = run(threads, beside_one, 20.0, now_s)
    assert used.count(1) > 0.9 * len(used), used.count(1) / len(used)
    now_s, _ = run(threads, idle, LONGEST_WAIT_FOR_MORE_S + 1, now_s)
    _, used = run(threads, idle, 1.0, now_s)
    assert set(used) == {2}


def test_of_many_threads_some_go() -> None:
    threads = AdaptiveThreads(8)
    now_s, _ = run(threads, idle, 1.0)
    now_s, _ = run(threads, lambda n: beside_one(n, cores=7), 20.0, now_s)
    _, used = run(threads, lambda n: beside_one(n, cores=7), 5.0, now_s)
    assert max(set(used), key=used.count) == 6


def test_what_is_slow_for_another_reason_keeps_its_threads() -> None:
    """A machine that became slow as a whole: trials become rare."""
    threads = AdaptiveThreads(2)
    now_s, _ = run(threads, idle, 1.0)
    _, used = run(threads, lambda n: 3 * idle(n), 60.0, now_s)
    assert used.count(1) < 0.02 * len(used)


def test_a_growing_context_isnt_company() -> None:
    threads, used, took_s, now_s = AdaptiveThreads(2), [], 0.010, 0.0
    for _ in range(3000):
        used.append(threads.n_threads)
        took_s *= 1.0005
        now_s += took_s
        threads.record(1, took_s, now_s)
    assert set(used) == {2}


def test_one_thread_stays_one() -> None:
    threads = AdaptiveThreads(1)
    now_s, _ = run(threads, idle, 1.0)
    _, used = run(threads, lambda n: 10 * idle(n), 5.0, now_s)
    assert set(used) == {1}
