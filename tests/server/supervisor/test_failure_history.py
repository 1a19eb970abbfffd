from __future__ import annotations

import logging

import pytest

from models.errors import InvalidGGUF, WorkerDied, WorkerError
from server.ipc.model_spec import ModelSpec
from server.supervisor.failure_history import Troubles, gentler
from server.supervisor.policy import Policy

POLICY = Policy(restart_delay_s=1.0, stable_after_s=60.0, max_deaths=3, failed_retry_s=15.0)
DIED = WorkerDied("the worker died")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def troubles(clock: Clock) -> Troubles:
    return Troubles("one", POLICY, clock)


def test_quick_deaths_add_up_and_delay_the_next_start(troubles: Troubles) -> None:
    troubles.ready()
    assert not troubles.has_died
    delays = []
    for _ in range(3):
        assert not troubles.too_many
        troubles.died(DIED)
        delays.append(troubles.delay_s)
        troubles.ready()
    assert delays == [0.0, 1.0, 2.0]
    assert troubles.too_many


def test_a_long_life_begins_a_new_count(troubles: Troubles, clock: Clock) -> None:
    for _ in range(2):
        troubles.ready()
        troubles.died(DIED)
    troubles.ready()
    clock.now_s += 60.0
    troubles.died(DIED)
    assert troubles.delay_s == 0.0


def test_the_reason_is_told_for_a_while(troubles: Troubles, clock: Clock) -> None:
    troubles.raise_recent()
    troubles.failed(InvalidGGUF("no model"), "one:Q8_0")
    assert troubles.problem == "no model"
    clock.now_s += 14.9
    with pytest.raises(InvalidGGUF, match="no model"):
        troubles.raise_recent()
    clock.now_s += 0.2
    troubles.raise_recent()
    assert not troubles.has_died  # a refusal: all attempts are left


def test_after_too_many_deaths_one_attempt_is_left(troubles: Troubles) -> None:
    for _ in range(3):
        troubles.died_loading(DIED)
    troubles.failed(DIED, "one")
    assert not troubles.too_many
    troubles.died_loading(DIED)
    assert troubles.too_many


def test_ready_ends_them_and_unloading_hides_them(troubles: Troubles) -> None:
    troubles.failed(DIED, "one")
    troubles.ready()
    troubles.raise_recent()
    assert troubles.problem is None
    troubles.died(DIED)
    troubles.forget()
    assert troubles.problem is None
    assert troubles.has_died


def test_an_error_of_our_own_is_logged_whole(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    troubles.failed(ZeroDivisionError("oops"), "one:Q8_0")
    with pytest.raises(WorkerError, match="see the log"):
        troubles.raise_recent()
    assert any(record.exc_info for record in caplog.records)


def test_the_second_attempt_is_gentler(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "corral.supervisor"):
        spec = gentler(ModelSpec(name="one", path="x"), DIED)
        assert not spec.options.use_extra_bufts
        assert spec.options.device_sampling == "off"
        assert "AMX" in caplog.text
        caplog.clear()
        assert gentler(spec, DIED) is spec
        assert "AMX" not in caplog.text
