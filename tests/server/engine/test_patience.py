from __future__ import annotations

import pytest

from models.errors import CorralError
from server.engine.batch import Adapters, Batch, BatchEntry, Copy, MemoryChange, Output, Restore, Save, Trim
from server.engine.engine import Engine, EngineConfig
from server.engine.patience import FIRST_LEAST_S, LEAST_S, MOVE_S, TIMES, UNKNOWN_S, Patience
from server.engine.speculation.step_cost import StepCost
from tests.server.engine.harness import request
from tests.server.engine.scripted_runner import ScriptedRunner

NO_ADAPTERS: Adapters = ()


def entry(n_tokens: int, n_outputs: int = 0, position: int = 0, slot: int = 0) -> BatchEntry:
    return BatchEntry(slot, slot, [1] * n_tokens, position, n_outputs)


def cost(step_s: float = 0.1, token_s: float = 0.01) -> StepCost:
    return StepCost([(1, step_s), (2, step_s + token_s)])


def seasoned(step_s: float = 0.1, token_s: float = 0.01, *sizes: Batch) -> Patience:
    """Patience that has seen steps of all these sizes."""
    patience = Patience(cost(step_s, token_s))
    for batch in sizes:
        patience.allowance(batch)
        patience.note_end()
    return patience


TOKEN = Batch(entries=[entry(1, 1)])
CHUNK = Batch(entries=[entry(512)])


def test_no_step_has_less_than_ten_seconds() -> None:
    assert seasoned(0.001, 0.001, TOKEN).allowance(TOKEN).limit_s == LEAST_S == 10.0


def test_a_step_has_twenty_times_what_its_size_costs() -> None:
    patience = seasoned(3.0, 0.5, TOKEN, CHUNK)
    token = patience.allowance(TOKEN)
    assert token.expected_s == pytest.approx(3.0, rel=0.01)
    assert token.limit_s == pytest.approx(TIMES * token.expected_s)
    chunk = patience.allowance(CHUNK)
    assert chunk.expected_s == pytest.approx(512 * 0.5, rel=0.3)
    assert chunk.limit_s == pytest.approx(20 * chunk.expected_s)
    both = patience.allowance(Batch(entries=[entry(1, 1), entry(512, slot=1)]))
    assert both.expected_s > chunk.expected_s + 2.9


def test_passes_and_what_lies_before_a_token_cost_more() -> None:
    patience = seasoned(1.0, 0.1, TOKEN)
    plain = patience.allowance(TOKEN).expected_s
    entries = [entry(1, 1), entry(1, 1, slot=2)]
    apart = Batch(entries=entries, rows=(1, 1))
    assert patience.allowance(apart).expected_s > 1.9 * patience.allowance(Batch(entries=entries)).expected_s
    deep = patience.allowance(Batch(entries=[entry(1, 1, position=100_000)])).expected_s
    assert 40 * plain < deep < 60 * plain


@pytest.mark.parametrize("change", [Copy(0, 1, 5), Restore(0, "k", 5), Save(0, [1], NO_ADAPTERS)])
def test_states_that_are_moved_take_time(change: MemoryChange) -> None:
    patience = seasoned(0.1, 0.01, TOKEN)
    moved = patience.allowance(Batch(memory=[Trim(0, 1), change], entries=TOKEN.entries))
    assert moved.expected_s == pytest.approx(patience.allowance(TOKEN).expected_s + MOVE_S)
    assert moved.limit_s >= TIMES * MOVE_S


def test_the_first_step_of_a_size_has_longer() -> None:
    patience = seasoned(0.01, 0.001)
    assert patience.allowance(TOKEN).limit_s == FIRST_LEAST_S
    patience.note_end()
    assert patience.allowance(TOKEN).limit_s == LEAST_S
    assert patience.allowance(CHUNK).limit_s == FIRST_LEAST_S, "another size, another kernel"


def test_what_was_never_measured_has_ten_minutes() -> None:
    patience = Patience(StepCost())
    for batch in (TOKEN, CHUNK):
        allowed = patience.allowance(batch)
        assert (allowed.expected_s, allowed.limit_s) == (0.0, UNKNOWN_S)
    only_one = StepCost([(1, 2.0)])
    assert Patience(only_one).allowance(CHUNK).expected_s <= 1024 * 1.5, "a prompt's token costs no more"


class Watch:
    """Notes what it hears of steps, and whether one runs."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self.in_step = False

    def begin(self, n_tokens: int, expected_s: float, limit_s: float) -> None:
        assert limit_s >= LEAST_S
        assert not self.in_step
        self.steps.append((n_tokens, expected_s))
        self.in_step = True

    def busy(self) -> None:
        self.in_step = False


class WatchedRunner(ScriptedRunner):
    """Checks that each run lies within a step that was announced."""

    watch: Watch

    def run(self, batch: Batch) -> list[Output | CorralError]:
        assert self.watch.in_step
        assert self.watch.steps[-1][0] == batch.n_tokens
        return super().run(batch)


def test_the_engine_tells_of_each_run_before_it_begins() -> None:
    watch, runner = Watch(), WatchedRunner()
    runner.watch = watch
    engine = Engine(runner, EngineConfig(), step_cost=cost(), watch=watch)
    for length in (3, 40):
        engine.submit(request([n % 7 for n in range(length)], max_tokens=4, ignore_eos=True))
    while engine.has_work:
        engine.step()
        assert not watch.in_step
    assert sum(n_tokens for n_tokens, _ in watch.steps) >= 43
    assert len(watch.steps) >= 4
    assert all(expected_s > 0 for _, expected_s in watch.steps)
