from __future__ import annotations

import pytest

from models.errors import WorkerDied
from server.tuning.paired_runner import PairedRunner, Verdict
from server.tuning.settings import Settings, with_values
from server.tuning.tuner import Outcome, Step, Tuner
from server.tuning.workload import Workload, percent
from tests.server.tuning.fake_measurer import DEFAULTS, SPACE, FakeMachine, Slowness, crash


def tune(
    machine: FakeMachine, budget_s: float = 400.0, *, workload: Workload | None = None, two: bool = True
) -> tuple[Outcome, list[Step]]:
    steps: list[Step] = []
    runner = PairedRunner(workload or Workload(), machine.open, machine.busy, room_for_two=two)
    try:
        outcome = Tuner(SPACE, runner, budget_s, steps.append, machine.clock_s).run()
    finally:
        runner.close()
    assert machine.n_open == 0
    return outcome, steps


def faster_with(**values: float) -> Slowness:
    """`n_ubatch_256=0.9`: a tenth less time where n_ubatch is 256; `x_off` for False."""

    def slowness(settings: Settings, busy: bool) -> float:
        factor = 1.0
        for key, value in values.items():
            name, _, text = key.rpartition("_")
            if str(getattr(settings, name)) in (text, text.capitalize()):
                factor *= value
        return factor

    return slowness


def test_the_best_combination_is_found_and_confirmed() -> None:
    machine = FakeMachine(faster_with(n_ubatch_256=0.8, spin_count_1000=0.9, threads_1=1.5), noise=0.005)
    outcome, steps = tune(machine)
    assert outcome.best == with_values(DEFAULTS, n_ubatch=256, spin_count=1000)
    assert outcome.confirmed
    assert not outcome.interrupted
    assert percent(outcome.gain) == pytest.approx(100 * (1 / 0.72 - 1), rel=0.1)
    assert all(outcome.best_s[load] < outcome.default_s[load] for load in outcome.default_s)
    assert {step.phase for step in steps} == {"noise", "search", "confirm", "kv cache"}


def test_noise_alone_changes_nothing() -> None:
    outcome, _ = tune(FakeMachine(lambda _settings, _busy: 1.0, noise=0.05), budget_s=600)
    assert outcome.best == DEFAULTS
    assert outcome.gain == 0.0
    assert outcome.noise > 0.005


def test_a_gain_smaller_than_the_noise_is_not_taken() -> None:
    outcome, _ = tune(FakeMachine(faster_with(flash_attn_off=0.98), noise=0.2))
    assert outcome.best == DEFAULTS


def test_speed_beside_a_busy_process_counts_by_its_weight() -> None:
    def slowness(settings: Settings, busy: bool) -> float:
        if settings.spin_count == 0:
            return 0.5 if busy else 1.1
        return 1.0

    hardly, _ = tune(FakeMachine(slowness), workload=Workload(contention=0.05))
    much, _ = tune(FakeMachine(slowness), workload=Workload(contention=0.5))
    assert hardly.best == DEFAULTS
    assert much.best.spin_count == 0


def test_settings_that_crash_are_passed_over() -> None:
    def slowness(settings: Settings, busy: bool) -> float:
        if not settings.use_extra_bufts:
            raise crash("SIGSEGV")
        return 0.8 if settings.kv_unified else 1.0

    outcome, _ = tune(FakeMachine(slowness))
    assert outcome.best.use_extra_bufts
    assert outcome.best.kv_unified
    failed = [tried for tried in outcome.trials if tried.problem]
    assert failed
    assert all("SIGSEGV" in str(tried.problem) and tried.gain is None for tried in failed)


def test_defaults_that_crash_are_an_error() -> None:
    def slowness(_settings: Settings, _busy: bool) -> float:
        raise crash("SIGILL")

    with pytest.raises(WorkerDied, match="SIGILL"):
        tune(FakeMachine(slowness))


@pytest.mark.parametrize("after", [1, 20, 30, 60, 120])
def test_ctrl_c_keeps_the_best_so_far(after: int) -> None:
    machine = FakeMachine(faster_with(use_extra_bufts_false=0.7))
    machine.interrupt_after = after
    outcome, _ = tune(machine)
    assert outcome.interrupted
    better = [tried for tried in outcome.trials if tried.verdict is Verdict.BETTER]
    assert (outcome.best != DEFAULTS) == bool(better)
    assert (outcome.best != DEFAULTS) == (after >= 60)


def test_the_budget_is_kept() -> None:
    for budget_s in (20.0, 60.0, 120.0):
        machine = FakeMachine(faster_with(n_ubatch_64=0.9), noise=0.01)
        outcome, _ = tune(machine, budget_s)
        assert machine.now_s <= budget_s * 1.15
        assert outcome.trials


def test_at_most_two_models_are_loaded_and_one_where_there_is_no_room() -> None:
    for two in (True, False):
        machine = FakeMachine(faster_with(n_ubatch_128=0.8))
        outcome, _ = tune(machine, two=two)
        assert machine.n_open_max == (2 if two else 1)
        assert outcome.best.n_ubatch == 128


def test_nothing_is_measured_twice() -> None:
    outcome, _ = tune(FakeMachine(lambda _settings, _busy: 1.0), budget_s=400)
    settings = [tried.settings for tried in outcome.trials]
    assert len(settings) == len(set(settings))
    assert len(settings) > 20
