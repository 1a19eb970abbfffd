from __future__ import annotations

import logging

import pytest

from models.errors import InvalidGGUF, WorkerDied
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions
from server.supervisor.failure_history import FailureHistory, last_death, safer_spec
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
def history(clock: Clock) -> FailureHistory:
    return FailureHistory(POLICY, clock)


def test_quick_deaths_add_up_and_delay_the_next_start(history: FailureHistory) -> None:
    history.record_ready()
    assert not history.has_died
    delays = []
    for _ in range(3):
        assert not history.too_many_deaths
        history.record_death(DIED)
        delays.append(history.delay_s)
        history.record_ready()
    assert delays == [0.0, 1.0, 2.0]
    assert history.too_many_deaths


def test_a_long_life_begins_a_new_count(history: FailureHistory, clock: Clock) -> None:
    for _ in range(2):
        history.record_ready()
        history.record_death(DIED)
    history.record_ready()
    clock.now_s += 60.0
    history.record_death(DIED)
    assert history.delay_s == 0.0


def test_another_machines_failure_changes_nothing_here() -> None:
    spec = ModelSpec(name="one", path="x", options=ServeOptions(kernels="on"))
    gone = WorkerDied("llama.cpp aborted: ggml-rpc.cpp:547: Failed to connect to a:1", is_remote=True)
    for each in (spec, ModelSpec(name="one", path="x")):
        assert safer_spec(each, gone) is each
    assert last_death(spec, gone) is gone


def test_the_reason_is_raised_for_a_while(history: FailureHistory, clock: Clock) -> None:
    history.raise_recent_failure()
    history.record_failure(InvalidGGUF("no model"))
    assert history.problem == "no model"
    clock.now_s += 14.9
    with pytest.raises(InvalidGGUF, match="no model"):
        history.raise_recent_failure()
    clock.now_s += 0.2
    history.raise_recent_failure()
    assert not history.has_died  # a refusal: all attempts are left


def test_after_too_many_deaths_one_attempt_is_left(history: FailureHistory) -> None:
    for _ in range(3):
        history.record_load_death(DIED)
    history.record_failure(DIED)
    assert not history.too_many_deaths
    history.record_load_death(DIED)
    assert history.too_many_deaths


def test_a_death_after_a_failure_is_one_death(history: FailureHistory, clock: Clock) -> None:
    for _ in range(3):
        history.record_load()
        history.record_ready()
        history.record_death(DIED)
    history.record_failure(DIED)
    for wait_s, left_s in ((0.0, 5.0), (4.5, 0.5)):
        clock.now_s += wait_s
        with pytest.raises(WorkerDied, match="the worker died") as error:
            history.raise_recent_failure()
        assert error.value.retry_after_s == left_s
    clock.now_s += 0.6
    history.raise_recent_failure()
    assert history.delay_s == 0.0, "the rest was the wait"
    history.record_load()
    history.record_ready()
    history.record_death(DIED)
    assert not history.too_many_deaths
    assert history.delay_s == 0.0
    history.record_ready()
    history.record_death(DIED)
    assert history.delay_s == 1.0


def test_deaths_are_forgotten_one_by_one(history: FailureHistory, clock: Clock) -> None:
    for _ in range(2):
        history.record_ready()
        history.record_death(DIED)
    assert history.delay_s == 1.0
    history.record_ready()
    clock.now_s += 20.0  # a third of the time, one of three deaths
    history.record_death(DIED)
    assert history.delay_s == 1.0
    assert not history.too_many_deaths


def test_ready_ends_them_and_unloading_hides_them(history: FailureHistory) -> None:
    history.record_failure(DIED)
    history.record_ready()
    history.raise_recent_failure()
    assert history.problem is None
    history.record_death(DIED)
    history.clear_problem()
    assert history.problem is None
    assert history.has_died


def test_deaths_in_one_load_are_counted_from_its_begin(history: FailureHistory) -> None:
    for _ in range(2):
        history.record_load()
        assert not history.too_many_load_deaths
        for _ in range(POLICY.max_load_deaths):
            history.record_load_death(DIED)
        assert history.too_many_load_deaths


def test_each_further_attempt_is_safer(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "corral.supervisor"):
        spec = safer_spec(ModelSpec(name="one", path="x"), DIED)
        assert spec.options == ServeOptions(kernels="off")
        assert spec.kernels_death == DIED.message
        assert "kernels off" in caplog.text
        assert "AMX" not in caplog.text
        spec = safer_spec(spec, DIED)
        assert not spec.options.use_extra_bufts
        assert spec.options.device_sampling == "off"
        assert "AMX" in caplog.text
        caplog.clear()
        assert safer_spec(spec, DIED) is spec
        assert "AMX" not in caplog.text


def test_the_reason_to_leave_the_kernels_out_is_the_death_without_advice() -> None:
    died = WorkerDied("the worker for model one died while loading it (SIGILL); run `corral doctor`")
    spec = safer_spec(ModelSpec(name="one", path="x"), died)
    assert spec.kernels_death == "the worker for model one died while loading it (SIGILL)"


def test_what_is_killed_is_tried_as_it_is_and_then_with_least_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A crash of the kernels is no SIGKILL: one, by the system or a person, doesn't cost their speed."""
    killed = WorkerDied("the worker died (SIGKILL)", is_killed=True)
    first = ModelSpec(name="one", path="x")
    assert safer_spec(first, killed, 1) is first
    assert "crash" not in caplog.text
    second = safer_spec(first, killed, 2)
    assert second.options == ServeOptions(kernels="off", use_extra_bufts=False)
    assert second.kernels_death == killed.message
    asked = ModelSpec(name="one", path="x", options=ServeOptions(kernels="on"))
    assert safer_spec(asked, killed, 2).options.kernels == "on"


def test_who_asked_for_the_kernels_keeps_them(caplog: pytest.LogCaptureFixture) -> None:
    asked = ModelSpec(name="one", path="x", options=ServeOptions(kernels="on"))
    spec = safer_spec(asked, DIED)
    assert spec.options == ServeOptions(kernels="on", device_sampling="off")
    assert "set it to auto or off" in caplog.text
    assert last_death(asked, DIED).message.startswith("the worker died. kernels is on; set to auto, ")
    assert last_death(ModelSpec(name="one", path="x"), DIED) is DIED


def test_without_extra_buffers_there_are_no_kernels_to_leave_out() -> None:
    spec = ModelSpec(name="one", path="x", options=ServeOptions(use_extra_bufts=False))
    assert safer_spec(spec, DIED) is spec
