"""A draft model beside the served one: it changes how many steps there are, not what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.engine import Engine, EngineConfig
from server.engine.speculation import Speculation
from server.worker.draft import DraftProposer, mismatch
from tests.server.worker.test_runner import Session, make_context, prompt_of

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def served(pico_path: Path) -> Iterator[Model]:
    with Model.load(pico_path) as loaded:
        yield loaded


class SpeculativeSession(Session):
    def __init__(self, context: Context, draft: Context) -> None:
        super().__init__(context)
        self.proposer = DraftProposer(draft, context.model.vocab.n_tokens)
        self.engine = Engine(self.runner, EngineConfig(), speculation=Speculation(self.proposer, draft_max=4))


@pytest.fixture
def session(served: Model) -> Iterator[SpeculativeSession]:
    """The served model guesses for itself, so every guess is right but for rounding."""
    with make_context(served) as context, make_context(served) as draft:
        yield SpeculativeSession(context, draft)


def test_output_equals_that_without_a_draft(served: Model, session: SpeculativeSession) -> None:
    with make_context(served) as context:
        plain = Session(context)
        for seed, options in enumerate(({}, {"temperature": 1.0, "seed": 5}, {"repeat_penalty": 1.3})):
            prompt = prompt_of(seed, 30, plain.runner.n_vocab)
            assert session.tokens(prompt, max_tokens=60, **options) == plain.tokens(
                prompt, max_tokens=60, **options
            )


def test_right_guesses_save_steps(session: SpeculativeSession) -> None:
    session.engine.times.estimate = lambda n_tokens: 1.0  # type: ignore[method-assign]
    session.tokens(prompt_of(1, 20, session.runner.n_vocab), max_tokens=100)
    (outcome,) = session.outcomes.values()
    timings = outcome.finish.timings
    assert timings.draft_n_accepted > 0.9 * timings.draft_n > 50
    assert session.engine.stats.steps_total < 50


def test_neighbours_come_and_go(served: Model, session: SpeculativeSession) -> None:
    prompts = [prompt_of(seed, 15 + 20 * seed, session.runner.n_vocab) for seed in range(7)]
    names = [session.submit(prompt, max_tokens=40) for prompt in prompts]
    session.run()
    with make_context(served) as context:
        plain = Session(context)
        for name, prompt in zip(names, prompts, strict=True):
            assert list(session.outcomes[name].tokens[0]) == plain.tokens(prompt, max_tokens=40)


def test_a_full_draft_cache_only_ends_the_guessing(served: Model) -> None:
    small = make_context(served, n_ctx=64, n_seq_max=4)
    with make_context(served) as context, small as draft:
        session = SpeculativeSession(context, draft)
        prompt = prompt_of(3, 50, session.runner.n_vocab)
        assert len(session.tokens(prompt, max_tokens=150)) == 150


def test_another_vocabulary_is_refused(served: Model, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "other.gguf", TinyModel(vocabulary="bpe"))
    with Model.load(path) as other:
        assert mismatch(other.vocab, served.vocab) is not None
    assert mismatch(served.vocab, served.vocab) is None
