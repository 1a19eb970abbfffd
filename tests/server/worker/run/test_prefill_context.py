"""Prompts on a context of their own, in F32: where something is computed must not change a token."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from models.errors import DecodeError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.events import Finish
from server.worker.run import prefill_context
from server.worker.run.prefill_context import (
    CHUNK_MIN,
    PrefillContext,
    PrefillOptions,
    open_prefill_context,
    prompt_ratio,
)
from server.worker.run.runner import RunnerParts
from tests.server.engine.harness import Outcome
from tests.server.worker.session import Ask, Session, f32_context, random_prompt

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def asks(model: Model) -> list[Ask]:
    """Short and long prompts, some of which begin alike."""
    n_vocab = model.vocab.n_tokens
    shared = random_prompt(99, 60, n_vocab)
    found = [Ask(random_prompt(i, length, n_vocab)) for i, length in enumerate((1, CHUNK_MIN, 40, 100, 130))]
    found += [Ask([*shared, *random_prompt(50 + i, length, n_vocab)]) for i, length in enumerate((5, 30, 64))]
    found.append(Ask(random_prompt(7, 70, n_vocab), n=3, params={"temperature": 1.0, "seed": 4}))
    found.append(Ask(random_prompt(8, 50, n_vocab), n_probs=2, score_prompt=True))
    return found


class SideSession(Session):
    def __init__(self, context: Context, side: Context, **config: Any) -> None:
        super().__init__(context, parts=RunnerParts(prefill=PrefillContext(context, side)), **config)
        self.side = side

    def last_position(self, slot: int) -> int | None:
        there = self.side.seq_pos_max(slot)
        return super().last_position(slot) if there is None else there


def side_of(context: Context) -> Context:
    return f32_context(context.model, n_seq_max=context.n_seq_max)


@pytest.mark.parametrize("chunk", [CHUNK_MIN, 64])
def test_text_and_scores_are_those_of_one_context(
    model: Model, asks: list[Ask], expected: list[Outcome], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with f32_context(model, n_seq_max=4) as context, side_of(context) as side:
        sizes: list[int] = []  # of what is computed there
        decode = side.decode

        def noted(batch: TokenBatch) -> None:
            sizes.append(batch.n_tokens)
            decode(batch)

        monkeypatch.setattr(side, "decode", noted)
        session = SideSession(
            context, side, copy_tokens_min=8, prefill_chunk_tokens=chunk, prefill_tokens_alone=chunk
        )
        for _ in range(2):  # the second time most of it is held already
            for found, wanted in zip(session.answers(asks, steps_between=1), expected, strict=True):
                assert found.tokens == wanted.tokens
        assert len(sizes) > 5
        assert min(sizes) >= CHUNK_MIN


@pytest.mark.parametrize("seed", range(4))
def test_requests_come_and_go(model: Model, asks: list[Ask], expected: list[Outcome], seed: int) -> None:
    """Random order, some cancelled wherever they are."""
    chance = random.Random(seed)
    order = [chance.randrange(len(asks)) for _ in range(24)]
    with f32_context(model, n_seq_max=5) as context, side_of(context) as side:
        session = SideSession(context, side, copy_tokens_min=8, prefill_chunk_tokens=chance.choice([30, 64]))
        names = {}
        for i in order:
            name = session.submit(asks[i])
            names[name] = i
            for _ in range(chance.randrange(4)):
                session.step()
            if chance.random() < 0.3:
                session.engine.cancel(chance.choice(list(names)))
        while session.engine.has_work:
            session.step()
        finished = [name for name in names if isinstance(session.outcomes[name].terminal, Finish)]
        assert len(finished) > 8
        for name in finished:
            assert session.outcomes[name].tokens == expected[names[name]].tokens


def test_a_step_that_fails_beside_is_taken_back(
    model: Model, asks: list[Ask], expected: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with f32_context(model, n_seq_max=4) as context, side_of(context) as side:
        session = SideSession(context, side, prefill_chunk_tokens=30, prefill_tokens_alone=30)
        session.submit(asks[2])
        session.step()
        real, failures = context.decode, iter([1, 0, 1, 1, 0])

        def full(batch: TokenBatch) -> None:
            if next(failures, 0):
                raise DecodeError("no room", 1)
            real(batch)

        monkeypatch.setattr(context, "decode", full)
        (found,) = session.answers([asks[4]])
        assert found.tokens == expected[4].tokens


def test_the_side_is_measured_and_refused_where_it_is_slower(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = PrefillOptions(n_threads=1, flash_attn="off", type_k="f32", type_v="f32")
    with f32_context(model, n_seq_max=2) as context:
        for ratio, is_open in ((0.5, True), (0.95, False)):
            times = itertools.cycle((ratio, 1.0))
            monkeypatch.setattr(prefill_context, "prompt_s", lambda _context, times=times: next(times))
            side = open_prefill_context(context, options, 1 << 40, measure=True)
            assert (side is not None) == is_open
        disturbed = iter((0.8, 1.0, 9.0, 1.0, 0.8, 1.2, 0.8, 1.0) * 2)
        monkeypatch.setattr(prefill_context, "prompt_s", lambda _context: next(disturbed))
        assert prompt_ratio(context, context) == pytest.approx(0.8), "other work only ever adds"
        assert open_prefill_context(context, options, 1 << 20, measure=False) is None, "memory is short"
    with f32_context(model, n_seq_max=2, kv_unified=True) as shared:
        assert open_prefill_context(shared, options, 1 << 40, measure=False) is None
