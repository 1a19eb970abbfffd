from __future__ import annotations

import psutil
import pytest

from server.supervisor.policy import Policy
from server.supervisor.process.vigil import Vigil

POLICY = Policy(heartbeat_s=5.0, stopped_after_s=10.0, hang_after_s=60.0)


class Worker:
    """A worker's state, as its vigil sees it, and the time."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.now_s = 1000.0
        self.status: str | None = psutil.STATUS_RUNNING
        self.vigil = Vigil(policy, 1, lambda: self.now_s, lambda _: self.status)

    def verdicts(self, seconds: float, n_messages: int, *, has_work: bool) -> list[str | None]:
        """Look at every heartbeat for so long."""
        found = []
        for _ in range(int(seconds / POLICY.heartbeat_s)):
            self.now_s += POLICY.heartbeat_s
            found.append(self.vigil.verdict(n_messages, has_work=has_work))
        return found


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.mark.parametrize("has_work", [False, True])
def test_a_stopped_worker_is_noticed_with_work_and_without(worker: Worker, has_work: bool) -> None:
    assert worker.verdicts(30, 1, has_work=has_work) == [None] * 6
    worker.status = psutil.STATUS_STOPPED
    assert worker.verdicts(10, 1, has_work=has_work) == [None] * 2
    [verdict] = worker.verdicts(5, 1, has_work=has_work)
    assert verdict == "it was stopped (SIGSTOP) for 10 s and was killed"


@pytest.mark.parametrize(
    "status", [psutil.STATUS_RUNNING, psutil.STATUS_SLEEPING, psutil.STATUS_DISK_SLEEP, "tracing-stop", None]
)
def test_one_that_computes_waits_or_is_debugged_is_left_alone(worker: Worker, status: str | None) -> None:
    worker.status = status
    assert not any(worker.verdicts(55, 1, has_work=True))


def test_one_that_goes_on_is_forgiven(worker: Worker) -> None:
    for _ in range(5):
        worker.status = psutil.STATUS_STOPPED
        assert not any(worker.verdicts(10, 1, has_work=False))
        worker.status = psutil.STATUS_RUNNING
        assert not any(worker.verdicts(5, 1, has_work=False))


def test_silence_counts_while_there_is_work(worker: Worker) -> None:
    assert not any(worker.verdicts(600, 1, has_work=False))
    assert not any(worker.verdicts(60, 1, has_work=True))
    [verdict] = worker.verdicts(5, 1, has_work=True)
    assert verdict == "it gave no sign of life for 65 s and was killed"


def test_a_message_is_a_sign_of_life(worker: Worker) -> None:
    for n_messages in range(50):
        assert not any(worker.verdicts(10, n_messages, has_work=True))


def test_the_time_that_this_process_was_stopped_itself_counts_for_nothing(worker: Worker) -> None:
    worker.status = psutil.STATUS_STOPPED
    worker.now_s += 3600
    assert worker.vigil.verdict(0, has_work=True) is None
    worker.status = psutil.STATUS_RUNNING
    assert not any(worker.verdicts(30, 0, has_work=True))


def test_without_a_limit_silence_is_no_reason() -> None:
    worker = Worker(Policy(heartbeat_s=5.0, hang_after_s=None))
    assert not any(worker.verdicts(6000, 1, has_work=True))
