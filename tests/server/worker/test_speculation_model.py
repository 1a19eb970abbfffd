"""What must not change an answer, on a real model in F32: the cache, chunks, neighbours, preemption, drafts.

Equal means every token of every choice, greedy and sampled. `docs/exactness.md` tells of quantized models.
"""

from __future__ import annotations

import random
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

import pytest

from models.llamacpp.model import Model
from server.engine.sequence import Sequence
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from tests.server.engine.harness import Outcome
from tests.server.worker.session import Ask, Session, f32_context, random_prompt

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def asks(model: Model) -> list[Ask]:
    """Greedy and sampled, short and long, with prompts that share beginnings and texts that repeat."""
    n_vocab = model.vocab.n_tokens
    shared = random_prompt(1, 70, n_vocab)
    cycle = random_prompt(2, 5, n_vocab)
    sampled = {"temperature": 0.8, "seed": 7}
    return [
        Ask(shared),
        Ask([*shared, 9, 10]),
        Ask(cycle * 9, params={"max_tokens": 60}),
        Ask(cycle * 8, params={"max_tokens": 60, "repeat_penalty": 1.2}),
        Ask(random_prompt(3, 1, n_vocab), params={"max_tokens": 50}),
        Ask(shared[:50], n=3, params={**sampled, "top_k": 20}),
        Ask(cycle * 9, n=2, params={"temperature": 0.3, "seed": 8, "top_p": 0.9, "max_tokens": 40}),
        Ask(shared[:60], params={**sampled, "min_p": 0.1, "presence_penalty": 0.5}, cache_prompt=False),
        Ask(random_prompt(4, 33, n_vocab), params={**sampled, "typical_p": 0.8, "top_k": 0}),
        Ask(random_prompt(5, 90, n_vocab), params={"ignore_eos": False, "min_tokens": 6}),
        Ask(cycle * 7, n_probs=2, score_prompt=True, params={"max_tokens": 30}),
    ]


@pytest.fixture(params=[False, True], ids=["streams", "unified"])
def kv_unified(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def assert_equal(found: list[Outcome], expected: list[Outcome]) -> None:
    for number, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        assert got.tokens == wanted.tokens, f"request {number}"
        assert got.text == wanted.text, f"request {number}"
        assert got.ends.keys() == wanted.ends.keys()
        for index, end in wanted.ends.items():
            assert got.ends[index].finish_reason == end.finish_reason
        assert_near(got, wanted)


def assert_near(got: Outcome, wanted: Outcome) -> None:
    """Logprobs are of the same tokens and differ by rounding at most."""
    pairs = [(got.prompt_logprobs or (), wanted.prompt_logprobs or ())]
    pairs += [(got.logprobs.get(index, ()), wanted.logprobs[index]) for index in wanted.logprobs]
    for found, expected in pairs:
        assert [entry.token for entry in found] == [entry.token for entry in expected]
        for a, b in zip(found, expected, strict=True):
            assert a.logprob == b.logprob or a.logprob == pytest.approx(b.logprob, abs=1e-4)
            assert [top[0] for top in a.top] == [top[0] for top in b.top]


@dataclass
class Knowing:
    """Knows the answers, and says each token rightly with probability `share`."""

    asks: list[Ask]
    outcomes: list[Outcome]
    share: float
    n_vocab: int
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    guess_s: float = 0.0
    start_s: float = 0.0

    def propose(self, wanted: Tokens[tuple[Sequence, int]]) -> list[list[int]]:
        return [self._guess(sequence, n) for sequence, n in wanted]

    def rest(self, n_steps: int) -> None:
        pass

    def close(self, sequence: Sequence) -> None:
        pass

    def _guess(self, sequence: Sequence, n: int) -> list[int]:
        request = sequence.group.request
        outcome = next(
            outcome
            for ask, outcome in zip(self.asks, self.outcomes, strict=True)
            if (ask.prompt, ask.request().params) == (list(request.prompt_tokens), request.params)
        )
        at = sequence.n_generated
        right = outcome.tokens[sequence.index][at : at + n]
        wrong = self.n_vocab - 1
        return [token if self.chance.random() < self.share else wrong for token in right]


# --- one thing at a time ---------------------------------------------------------------------------------


def test_the_prefix_cache(model: Model, asks: list[Ask], expected: list[Outcome], kv_unified: bool) -> None:
    """Each after the other, twice: the second time all but the last token is there."""
    with f32_context(model, n_seq_max=4, kv_unified=kv_unified) as context:
        session = Session(context, copy_tokens_min=8)
        for _ in range(2):
            assert_equal([session.answers([ask])[0] for ask in asks], expected)
        hit = [session.answers(asks[:1])[0] for _ in range(2)][1]
    assert hit.finish.usage.cached_tokens == len(asks[0].prompt) - 1


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_of_a_prompt(model: Model, asks: list[Ask], expected: list[Outcome], chunk: int) -> None:
    with f32_context(model, n_seq_max=4) as context:
        session = Session(context, prefill_chunk_tokens=chunk, prefill_tokens_alone=chunk)
        assert_equal(session.answers(asks), expected)


def test_neighbours(model: Model, asks: list[Ask], expected: list[Outcome], kv_unified: bool) -> None:
    with f32_context(model, n_seq_max=16, kv_unified=kv_unified) as context:
        assert_equal(Session(context).answers(asks, steps_between=2), expected)


def test_preemption(model: Model, asks: list[Ask], expected: list[Outcome]) -> None:
    """A unified cache of 192 cells for sixteen sequences that want ten times as many."""
    with f32_context(model, n_seq_max=16, n_cells=192, kv_unified=True) as context:
        session = Session(context)
        assert_equal(session.answers(asks), expected)
    assert session.engine.stats.preemptions_total > 3


@pytest.mark.parametrize("share", [1.0, 0.6, 0.0])
def test_drafts(
    model: Model, asks: list[Ask], expected: list[Outcome], share: float, kv_unified: bool
) -> None:
    with f32_context(model, n_seq_max=4, kv_unified=kv_unified) as context:
        proposer = Knowing(asks, expected, share, model.vocab.n_tokens)
        outcomes = Session(context, Speculation(proposer, draft_max=6)).answers(asks)
    assert_equal(outcomes, expected)
    n_drafted = sum(outcome.finish.timings.draft_n for outcome in outcomes)
    n_accepted = sum(outcome.finish.timings.draft_n_accepted for outcome in outcomes)
    assert n_drafted > 0
    assert (n_accepted > 0) == (share > 0)
    assert n_accepted <= n_drafted
    assert (n_accepted == n_drafted) == (share == 1.0)


def test_drafts_of_prompt_lookup(
    model: Model, asks: list[Ask], expected: list[Outcome], kv_unified: bool
) -> None:
    with f32_context(model, n_seq_max=4, kv_unified=kv_unified) as context:
        outcomes = Session(context, Speculation(NgramProposer((3, 1)))).answers(asks)
    assert_equal(outcomes, expected)
    assert sum(outcome.finish.timings.draft_n_accepted for outcome in outcomes) > 0


def test_drafts_make_fewer_steps(model: Model, asks: list[Ask], expected: list[Outcome]) -> None:
    n_steps = []
    for share in (0.0, 1.0):
        with f32_context(model) as context:
            proposer = Knowing(asks, expected, share, model.vocab.n_tokens)
            session = Session(context, Speculation(proposer, draft_max=4))
            session.answers(asks[2:3])
            n_steps.append(session.engine.stats.steps_total)
    assert n_steps[1] < n_steps[0]  # how many fewer depends on the steps that were measured


# --- all at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_everything_together(model: Model, asks: list[Ask], expected: list[Outcome], seed: int) -> None:
    """Random order and times, a small cache, small chunks, drafts that are often wrong."""
    chance = random.Random(seed)
    order = [*range(len(asks)), *(chance.randrange(len(asks)) for _ in range(10))]
    chance.shuffle(order)
    n_cells, kv_unified = chance.choice([(None, False), (None, True), (256, True), (192, True)])
    proposer = Knowing(asks, expected, chance.choice([0.5, 0.9]), model.vocab.n_tokens, chance)
    chunk = chance.choice([3, 16, 64])
    with f32_context(
        model, n_seq_max=chance.choice([3, 8]), n_cells=n_cells, kv_unified=kv_unified
    ) as context:
        session = Session(
            context,
            Speculation(proposer, draft_max=chance.choice([2, 8])),
            copy_tokens_min=8,
            prefill_chunk_tokens=chunk,
            prefill_tokens_alone=chunk,
        )
        found = session.answers([asks[i] for i in order], steps_between=chance.randint(0, 4))
    assert_equal(found, [expected[i] for i in order])
