"""Cells shared when a request is long and divided again later, in F32: it must not change a token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from models.errors import ContextError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.worker.run.kv_layout import KVLayout
from server.worker.run.prefill_context import PrefillContext
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.server.engine.harness import Outcome
from tests.server.worker.session import Ask, Session, f32_context, random_prompt

pytestmark = pytest.mark.model

N_SLOTS, N_CELLS, N_LONG = 4, 1024, 940


class LayoutSession(Session):
    """A session whose requests may have nearly all cells, with a prompt side or without."""

    def __init__(self, context: Context, side: Context | None, available_bytes: int = 1 << 40) -> None:
        prefill = None if side is None else PrefillContext(context, side)
        layout = KVLayout(context, prefill, lambda: available_bytes)
        runner = LlamaRunner(
            context, N_CELLS, can_trim=True, parts=RunnerParts(prefill=prefill, layout=layout)
        )
        super().__init__(context, runner=runner, divide_after_steps=4, copy_tokens_min=8)
        self.side = side
        self.layouts: list[bool] = []
        change = layout.change

        def noted(*, unified: bool) -> set[int]:
            self.layouts.append(unified)
            return change(unified=unified)

        layout.change = noted  # type: ignore[method-assign]

    def last_position(self, slot: int) -> int | None:
        there = None if self.side is None else self.side.seq_pos_max(slot)
        return super().last_position(slot) if there is None else there


@dataclass
class Contexts:
    main: Context
    side: Context | None


@pytest.fixture(params=[False, True], ids=["alone", "with a prompt side"])
def contexts(model: Model, request: pytest.FixtureRequest) -> Iterator[Contexts]:
    with ExitStack() as stack:

        def open_one() -> Context:
            return stack.enter_context(f32_context(model, n_seq_max=N_SLOTS, n_cells=N_CELLS))

        yield Contexts(open_one(), open_one() if request.param else None)


@pytest.fixture(scope="module")
def short(model: Model) -> list[Ask]:
    return [Ask(random_prompt(i, 60 + 20 * i, model.vocab.n_tokens)) for i in range(N_SLOTS)]


@pytest.fixture(scope="module")
def long(model: Model) -> Ask:
    return Ask(random_prompt(77, N_LONG, model.vocab.n_tokens))


@pytest.fixture(scope="module")
def grows(model: Model) -> Ask:
    """A request that outgrows a stream while it generates."""
    return Ask(random_prompt(78, 230, model.vocab.n_tokens), params={"max_tokens": 60})


@pytest.fixture(scope="module")
def expected(model: Model, short: list[Ask], long: Ask, grows: Ask) -> list[Outcome]:
    def cold(ask: Ask) -> Outcome:
        with f32_context(model, n_cells=N_CELLS) as context:
            runner = LlamaRunner(context, N_CELLS, can_trim=True)
            return Session(context, runner=runner).answers([ask])[0]

    return [cold(ask) for ask in (*short, long, grows)]


def same(found: list[Outcome], wanted: list[Outcome]) -> None:
    assert [one.tokens for one in found] == [one.tokens for one in wanted]


def test_one_request_has_nine_tenths_of_the_cells_and_its_next_turn_finds_them(
    contexts: Contexts, long: Ask, expected: list[Outcome]
) -> None:
    assert N_LONG >= 0.9 * N_CELLS
    session = LayoutSession(contexts.main, contexts.side)
    same(session.answers([long]), expected[4:5])
    again = session.answers([long])
    same(again, expected[4:5])
    assert again[0].finish.usage.cached_tokens == N_LONG - 1
    assert session.layouts == [True]


def test_short_ones_go_on_while_a_long_one_comes_and_cells_are_divided_again(
    contexts: Contexts, short: list[Ask], grows: Ask, expected: list[Outcome]
) -> None:
    session = LayoutSession(contexts.main, contexts.side)
    asks, wanted = [*short, grows, *short], [*expected[:4], expected[5], *expected[:4]]
    same(session.answers(asks, steps_between=3), wanted)
    same(session.answers(short), expected[:4])
    assert session.layouts == [True, False]


def test_states_that_find_no_room_are_computed_again(
    contexts: Contexts, short: list[Ask], grows: Ask, expected: list[Outcome]
) -> None:
    session = LayoutSession(contexts.main, contexts.side, available_bytes=0)
    same(session.answers([*short, grows], steps_between=3), [*expected[:4], expected[5]])
    assert session.layouts[0]


def test_long_ones_beside_each_other_take_turns(
    contexts: Contexts, long: Ask, short: list[Ask], expected: list[Outcome]
) -> None:
    session = LayoutSession(contexts.main, contexts.side)
    same(session.answers([long, *short, long]), [expected[4], *expected[:4], expected[4]])


def test_cells_that_cannot_be_allocated_again_end_the_worker(
    contexts: Contexts, long: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = LayoutSession(contexts.main, None)

    def refuse(*, kv_unified: bool) -> None:
        raise ContextError(f"no memory for {kv_unified}")

    monkeypatch.setattr(contexts.main, "reopen", refuse)
    name = session.submit(long)
    for event in session.engine.step():
        session.outcomes[event.id].take(event)
    assert session.engine.fatal_error is not None
    assert "no memory" in session.engine.fatal_error.message
    assert session.outcomes[name].failure.kind == "server_error"
