"""A draft model beside the served one: it changes how many steps there are, not what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import DecodeError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.engine import Engine, EngineConfig
from server.engine.speculation.speculation import Speculation
from server.worker.run.draft_model import DraftProposer, mismatch
from tests.server.worker.session import Session, ask, f32_context, random_prompt

pytestmark = pytest.mark.model


class SpeculativeSession(Session):
    def __init__(self, context: Context, draft: Context) -> None:
        super().__init__(context)
        self.proposer = DraftProposer(draft, context.model.vocab.n_tokens)
        self.engine = Engine(self.runner, EngineConfig(), speculation=Speculation(self.proposer, draft_max=4))


@pytest.fixture
def session(model: Model) -> Iterator[SpeculativeSession]:
    """The served model guesses for itself, so every guess is right but for rounding."""
    with f32_context(model, n_seq_max=4) as context, f32_context(model, n_seq_max=4) as draft:
        yield SpeculativeSession(context, draft)


def test_output_equals_that_without_a_draft(model: Model, session: SpeculativeSession) -> None:
    with f32_context(model, n_seq_max=4) as context:
        plain = Session(context)
        ways: tuple[dict[str, Any], ...] = ({}, {"temperature": 1.0, "seed": 5}, {"repeat_penalty": 1.3})
        for seed, params in enumerate(ways):
            asked = ask(random_prompt(seed, 30, plain.runner.n_vocab), max_tokens=60, **params)
            assert session.tokens(asked) == plain.tokens(asked)


def test_right_guesses_save_steps(session: SpeculativeSession) -> None:
    session.engine.step_cost.estimate = lambda n_tokens: 1.0  # type: ignore[method-assign]
    session.tokens(ask(random_prompt(1, 20, session.runner.n_vocab), max_tokens=100))
    (outcome,) = session.outcomes.values()
    timings = outcome.finish.timings
    assert timings.draft_n_accepted > 0.9 * timings.draft_n > 50
    assert session.engine.stats.steps_total < 50


def test_neighbours_come_and_go(model: Model, session: SpeculativeSession) -> None:
    prompts = [random_prompt(seed, 15 + 20 * seed, session.runner.n_vocab) for seed in range(7)]
    asks = [ask(prompt, max_tokens=40) for prompt in prompts]
    answers = session.answers(asks)
    with f32_context(model, n_seq_max=4) as context:
        plain = Session(context)
        for asked, answer in zip(asks, answers, strict=True):
            assert list(answer.tokens[0]) == plain.tokens(asked)


def test_a_full_draft_cache_only_ends_the_guessing(model: Model) -> None:
    small = f32_context(model, n_seq_max=4, n_cells=256)
    with f32_context(model, n_seq_max=4) as context, small as draft:
        session = SpeculativeSession(context, draft)
        prompt = random_prompt(3, 50, session.runner.n_vocab)
        assert len(session.tokens(ask(prompt, max_tokens=150))) == 150


def test_cells_that_are_too_few_for_all_guess_for_some(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    small = f32_context(model, n_seq_max=4, n_cells=256, kv_unified=True)
    with f32_context(model, n_seq_max=4) as context, small as draft:
        session = SpeculativeSession(context, draft)
        prompts = [random_prompt(seed, 80, session.runner.n_vocab) for seed in range(4)]
        asks = [ask(prompt, max_tokens=20) for prompt in prompts]
        answers = session.answers(asks)
        guesses = [outcome.finish.timings.draft_n for outcome in session.outcomes.values()]
    assert "begins anew" not in caplog.text
    assert min(guesses[:2]) > 0
    with f32_context(model, n_seq_max=4) as context:
        plain = Session(context)
        for asked, answer in zip(asks, answers, strict=True):
            assert list(answer.tokens[0]) == plain.tokens(asked)


def test_a_decode_that_fails_is_told_once_and_guessing_begins_anew(
    model: Model, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with f32_context(model, n_seq_max=4) as context, f32_context(model, n_seq_max=4) as draft:
        session = SpeculativeSession(context, draft)
        session.engine.step_cost.estimate = lambda n_tokens: 1.0  # type: ignore[method-assign]
        failing = [True, False, True]

        def decode(batch: TokenBatch) -> None:
            if failing and failing.pop():
                raise DecodeError("broken off", 2)
            Context.decode(draft, batch)

        monkeypatch.setattr(draft, "decode", decode)
        asked = ask(random_prompt(1, 20, session.runner.n_vocab), max_tokens=40)
        answer = session.tokens(asked)
        assert caplog.text.count("the draft model begins anew") == 1
        (outcome,) = session.outcomes.values()
        assert outcome.finish.timings.draft_n > 0
    with f32_context(model, n_seq_max=4) as context:
        assert answer == Session(context).tokens(asked)


def test_another_vocabulary_is_refused(model: Model, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "other.gguf", TinyModel(vocabulary="bpe"))
    with Model.load(path) as other:
        assert mismatch(other.vocab, model.vocab) is not None
    assert mismatch(model.vocab, model.vocab) is None
