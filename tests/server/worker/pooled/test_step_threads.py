from __future__ import annotations

import pytest

from models.errors import DecodeError
from server.worker.pooled.step_threads import StepThreads, size_of
from server.worker.run.adaptive_threads import AdaptiveThreads


class Machine:
    """A context with two threads, of which one is slow while another program has its core."""

    def __init__(self) -> None:
        self.n_threads = 2
        self.n_threads_batch = 2
        self.used: list[tuple[int, int | None]] = [(2, 2)]
        self.is_shared = False
        self.now_s = 0.0

    def set_n_threads(self, n_threads: int, n_threads_batch: int | None = None) -> None:
        self.used.append((n_threads, n_threads_batch))

    def compute(self) -> None:
        alone_s = 0.004 if self.used[-1][0] == 1 else 0.002
        self.now_s += 0.03 if self.is_shared and self.used[-1][0] == 2 else alone_s

    def steps(self, threads: StepThreads, count: int) -> None:
        for number in range(count):
            threads.run(self.compute, 32 + number % 2)
            self.now_s += 0.05


def test_a_thread_without_a_core_is_left_out_and_comes_back() -> None:
    machine = Machine()
    threads = StepThreads(machine, AdaptiveThreads(2), lambda: machine.now_s)
    machine.steps(threads, 40)
    assert machine.used == [(2, 2)]
    machine.is_shared = True
    machine.steps(threads, 60)
    assert machine.used[1] == (1, 1)
    assert sum(n == 1 for n, _ in machine.used) >= 1
    machine.is_shared = False
    machine.steps(threads, 400)
    assert machine.used[-1] == (2, 2)


def test_without_adapting_nothing_is_set() -> None:
    machine = Machine()
    machine.is_shared = True
    machine.steps(StepThreads(machine, None, lambda: machine.now_s), 60)
    assert machine.used == [(2, 2)]


def test_an_error_is_raised() -> None:
    def fail() -> None:
        raise DecodeError("no memory", 1)

    machine = Machine()
    threads = StepThreads(machine, AdaptiveThreads(2), lambda: machine.now_s)
    with pytest.raises(DecodeError):
        threads.run(fail, 7)
    machine.steps(threads, 3)


@pytest.mark.parametrize(
    ("n_tokens", "size"), [(1, 1), (7, 7), (15, 15), (16, 16), (17, 16), (31, 30), (255, 240), (256, 256)]
)
def test_sizes(n_tokens: int, size: int) -> None:
    assert size_of(n_tokens) == size
