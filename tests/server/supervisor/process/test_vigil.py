from __future__ import annotations

import math

import pytest

from server.ipc.pulse import Beat
from server.supervisor.policy import Policy
from server.supervisor.process.hardship import Condition, Hardship, ProcessWatcher
from server.supervisor.process.vigil import Vigil

POLICY = Policy(look_s=1.0, stopped_after_s=10.0, hang_after_s=60.0)
REST = Beat(1, 0, 0.0, math.inf)
STEP = Beat(2, 512, 1.25, 25.0)


class Watcher(ProcessWatcher):
    """What the system says of a worker, as the test has it."""

    def __init__(self) -> None:
        self.state = Condition()
        self.suffered = Hardship()

    def condition(self) -> Condition:
        return self.state

    def hardship(self) -> Hardship:
        return self.suffered


class Worker:
    """A worker's state, as its vigil sees it, and the time."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.now_s = 1000.0
        self.watcher = Watcher()
        self.beat = REST
        self.n_messages = 0
        self.talks = True
        self.jobs: list[Beat] = []
        self.vigil = Vigil(policy, self.watcher, lambda: self.now_s)

    def look(self, elapsed_s: float = 1.0, *, has_work: bool = True) -> str | None:
        self.now_s += elapsed_s
        self.n_messages += self.talks
        return self.vigil.verdict(self.beat, self.n_messages, has_work=has_work, jobs=self.jobs)

    def seconds_to_verdict(self, most_s: int, *, has_work: bool = True) -> tuple[int, str]:
        """Look each second."""
        for second in range(1, most_s + 1):
            if (verdict := self.look(has_work=has_work)) is not None:
                return second, verdict
        return most_s, ""


@pytest.fixture
def worker() -> Worker:
    return Worker()


# --- stopped ---


@pytest.mark.parametrize("has_work", [False, True])
def test_a_stopped_worker_is_noticed_with_work_and_without(worker: Worker, has_work: bool) -> None:
    assert worker.seconds_to_verdict(30, has_work=has_work) == (30, "")
    worker.watcher.state = Condition(is_stopped=True)
    seconds, verdict = worker.seconds_to_verdict(30, has_work=has_work)
    assert seconds == 11
    assert verdict == "it was stopped (SIGSTOP) for 10 s and was killed"


def test_one_that_goes_on_is_forgiven(worker: Worker) -> None:
    for _ in range(5):
        worker.watcher.state = Condition(is_stopped=True)
        assert worker.seconds_to_verdict(10) == (10, "")
        worker.watcher.state = Condition()
        assert worker.seconds_to_verdict(1) == (1, "")


@pytest.mark.parametrize("is_stopped", [False, True])
def test_one_in_a_debugger_has_all_the_time(worker: Worker, is_stopped: bool) -> None:
    worker.beat, worker.talks = STEP, False
    worker.look()
    worker.watcher.state = Condition(is_stopped=is_stopped, is_debugged=True)
    assert worker.seconds_to_verdict(7200) == (7200, "")
    worker.watcher.state = Condition()
    assert worker.seconds_to_verdict(25) == (25, ""), "its time begins anew"


# --- a step ---


def test_a_step_that_takes_too_long(worker: Worker) -> None:
    worker.look()
    worker.beat = STEP
    seconds, verdict = worker.seconds_to_verdict(60)
    assert seconds == 27
    assert verdict == "a step of 512 tokens, which should take 1.25 s, took 26 s and it was killed"


def test_a_slow_one_is_left_alone(worker: Worker) -> None:
    for number in range(50):
        worker.beat = Beat(number, 512, 1.25, 25.0)
        assert worker.seconds_to_verdict(25) == (25, "")


def test_words_for_one_token_and_for_what_is_no_step(worker: Worker) -> None:
    worker.beat = Beat(3, 1, 0.0, 600.0)
    assert worker.seconds_to_verdict(700)[1] == "a step of 1 token took 601 s and it was killed"
    worker.beat = Beat(4, 0, 0.0, 600.0)
    assert worker.seconds_to_verdict(700)[1] == "it has not gone on for 601 s and was killed"


def test_one_that_waits_for_work_never_hangs(worker: Worker) -> None:
    assert worker.seconds_to_verdict(100_000) == (100_000, "")


def test_others_have_the_processors(worker: Worker) -> None:
    """Of a second in which it waited for three quarters, a quarter counts; where it never ran, a tenth."""
    for wait_s, expected_s in ((0.75, 100), (1.0, 250)):
        worker.beat = Beat(worker.beat.number + 1, 512, 1.25, 25.0)
        worker.look()
        seconds, is_killed = 0, False
        while not is_killed:
            seconds += 1
            waits = worker.watcher.suffered.waits_s.get(1, 0.0)
            worker.watcher.suffered = Hardship(0, {1: waits + wait_s, 2: 0.0})
            is_killed = worker.look() is not None
        assert seconds == pytest.approx(expected_s, rel=0.05)


def test_its_pages_are_read_from_the_disk(worker: Worker) -> None:
    worker.beat = STEP
    worker.look()
    for second in range(3600):
        worker.watcher.suffered = Hardship(n_faults=100 * second)
        assert worker.look() is None
    assert worker.seconds_to_verdict(60)[0] <= 27, "then it hangs"


# --- a request's text ---


def test_a_thread_that_prepares_one_request_for_too_long(worker: Worker) -> None:
    """The engine goes on meanwhile, and the worker answers questions."""
    other = [Beat(1, 0, 0.0, math.inf)]
    for number in range(20):
        worker.jobs = [*other, Beat(number, 0, 0.0, 30.0)]
        worker.beat = Beat(number, 512, 1.25, 25.0)
        assert worker.seconds_to_verdict(20) == (20, "")
    worker.beat = REST
    seconds, verdict = worker.seconds_to_verdict(60)
    assert seconds == 12
    assert verdict == "it was at the text of one request for 31 s and was killed"


def test_a_thread_without_a_request_has_all_the_time(worker: Worker) -> None:
    worker.jobs = [Beat(1, 0, 0.0, math.inf)] * 8
    assert worker.seconds_to_verdict(10_000) == (10_000, "")


# --- silence ---


def test_silence_counts_while_there_is_work(worker: Worker) -> None:
    worker.talks = False
    assert worker.seconds_to_verdict(600, has_work=False) == (600, "")
    seconds, verdict = worker.seconds_to_verdict(100)
    assert seconds == 61
    assert verdict == "it gave no sign of life for 61 s and was killed"


def test_a_message_is_a_sign_of_life(worker: Worker) -> None:
    worker.talks = False
    for _ in range(50):
        worker.n_messages += 1
        assert worker.seconds_to_verdict(50) == (50, "")


def test_without_a_limit_silence_is_no_reason() -> None:
    worker = Worker(Policy(look_s=1.0, hang_after_s=None))
    worker.talks = False
    assert worker.seconds_to_verdict(6000) == (6000, "")


# --- time that says nothing ---


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_machine_slept_or_this_process_was_stopped_itself(worker: Worker, is_stopped: bool) -> None:
    worker.beat, worker.talks = STEP, False
    worker.watcher.state = Condition(is_stopped=is_stopped)
    worker.look()
    for _ in range(4):
        assert worker.look(3600.0) is None
    worker.watcher.state = Condition()
    assert worker.seconds_to_verdict(15) == (15, "")
