"""LlamaRunner under the real engine, all in F32: what else is in the batch must not change a token."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from models.errors import DecodeError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.worker.run.adaptive_threads import AdaptiveThreads
from server.worker.run.decode_outputs import DecodeOutputs
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.server.worker.session import N_CTX, Ask, Session, ask, f32_context, open_runner, random_prompt

pytestmark = pytest.mark.model


@pytest.fixture(params=[False, True], ids=["streams", "unified"])
def context(model: Model, request: pytest.FixtureRequest) -> Iterator[Context]:
    with f32_context(model, n_seq_max=4, kv_unified=request.param) as made:
        yield made


def plain_greedy(model: Model, prompt: list[int], n_tokens: int) -> list[int]:
    """A loop over llama.cpp and nothing else."""
    said: list[int] = []
    with f32_context(model) as context:
        batch = TokenBatch(len(prompt))
        batch.add_many(prompt, 0, 0, output_last=True)
        eog = list(model.vocab.eog_tokens)
        while True:
            context.decode(batch)
            row = context.logits()[0].copy()
            row[eog] = -np.inf
            said.append(int(row.argmax()))
            if len(said) == n_tokens:
                return said
            batch.clear()
            batch.add(said[-1], len(prompt) + len(said) - 1, 0, True)


def n_open(session: Session) -> int:
    """Sequences whose samplers the runner still has."""
    assert isinstance(session.runner, LlamaRunner)
    return session.runner.n_open


def test_greedy_equals_a_plain_loop(model: Model, context: Context) -> None:
    session = Session(context)
    for seed, length in enumerate((1, 2, 60, 100)):
        prompt = random_prompt(seed, length, session.runner.n_vocab)
        assert session.tokens(ask(prompt)) == plain_greedy(model, prompt, 24)


def test_the_number_of_threads_changes_nothing(model: Model) -> None:
    """Another one at every step."""

    class Alternating(AdaptiveThreads):
        steps = itertools.count()

        @property
        def n_threads(self) -> int:
            return 1 + next(self.steps) % 2

    with Context(
        model,
        n_ctx=4 * N_CTX,
        n_batch=128,
        n_ubatch=64,
        n_seq_max=4,
        n_threads=2,
        flash_attn="off",
        type_k="f32",
        type_v="f32",
    ) as context:
        session = Session(context, parts=RunnerParts(threads=Alternating(2)))
        prompts = [random_prompt(seed, 20 + 9 * seed, session.runner.n_vocab) for seed in range(4)]
        outcomes = session.answers([ask(prompt) for prompt in prompts])
        assert [list(outcome.tokens[0]) for outcome in outcomes] == [
            plain_greedy(model, prompt, 24) for prompt in prompts
        ]


def test_neighbours_change_nothing(model: Model, context: Context) -> None:
    session = Session(context, prefill_chunk_tokens=7)
    prompts = [random_prompt(seed, 20 + 9 * seed, session.runner.n_vocab) for seed in range(9)]
    names = [session.submit(ask(prompt)) for prompt in prompts[:5]]
    for prompt in prompts[5:]:
        session.step()
        session.step()
        names.append(session.submit(ask(prompt)))
    session.run()
    for name, prompt in zip(names, prompts, strict=True):
        assert list(session.outcomes[name].tokens[0]) == plain_greedy(model, prompt, 24)


def test_a_prefix_hit_gives_the_tokens_of_a_cold_run(model: Model, context: Context) -> None:
    session = Session(context, copy_tokens_min=8)
    shared = random_prompt(1, 80, session.runner.n_vocab)
    first = session.tokens(ask(shared))
    for ending in range(6):
        prompt = [*shared, *first[: ending * 3], 5 + ending, 7]
        name = session.submit(ask(prompt))
        session.run()
        assert session.outcomes[name].finish.usage.cached_tokens >= 80
        assert list(session.outcomes[name].tokens[0]) == plain_greedy(model, prompt, 24)


def test_a_prefix_is_shared_with_a_running_owner(model: Model, context: Context) -> None:
    session = Session(context, copy_tokens_min=8)
    shared = random_prompt(2, 90, session.runner.n_vocab)
    owner = session.submit(ask(shared, max_tokens=40))
    for _ in range(5):
        session.step()
    prompt = [*shared[:70], 9]
    guest = session.submit(ask(prompt))
    session.run()
    assert session.outcomes[guest].finish.usage.cached_tokens == 70
    assert list(session.outcomes[guest].tokens[0]) == plain_greedy(model, prompt, 24)
    assert list(session.outcomes[owner].tokens[0]) == plain_greedy(model, shared, 40)


def test_choices_share_their_prompt_and_differ_by_seed(context: Context) -> None:
    session = Session(context, copy_tokens_min=8)
    prompt = random_prompt(3, 100, session.runner.n_vocab)
    name = session.submit(ask(prompt, n=6, temperature=1.0, seed=11, cache_prompt=False))
    session.run()
    outcome = session.outcomes[name]
    assert len(set(outcome.tokens.values())) == 6
    assert outcome.finish.timings.prompt_n < 2 * len(prompt)
    alone = session.tokens(ask(prompt, temperature=1.0, seed=13, cache_prompt=False))
    assert alone == list(outcome.tokens[2])


def test_a_seed_repeats_beside_others(context: Context) -> None:
    session = Session(context)
    prompt = random_prompt(4, 30, session.runner.n_vocab)
    options: dict[str, Any] = {"temperature": 0.9, "top_k": 50, "seed": 99, "repeat_penalty": 1.1}
    alone = session.tokens(ask(prompt, **options))
    for seed in range(3):
        session.submit(ask(random_prompt(seed, 50, session.runner.n_vocab), temperature=1.0))
    assert session.tokens(ask(prompt, **options)) == alone
    assert session.tokens(ask(prompt, **{**options, "seed": 100})) != alone


def test_cancelling_frees_the_slot_for_the_next(model: Model, context: Context) -> None:
    session = Session(context)
    running = [
        session.submit(ask(random_prompt(seed, 40, session.runner.n_vocab), max_tokens=200))
        for seed in range(4)
    ]
    prompt = random_prompt(9, 40, session.runner.n_vocab)
    waiting = session.submit(ask(prompt))
    for _ in range(4):
        session.step()
    for name in running:
        session.engine.cancel(name)
    session.run()
    assert n_open(session) == 0
    assert list(session.outcomes[waiting].tokens[0]) == plain_greedy(model, prompt, 24)


def test_a_full_cache_preempts_and_the_tokens_stay_right(model: Model) -> None:
    """A unified cache of 256 cells, and three sequences that together want 330."""
    prompts = [random_prompt(seed, 60, model.vocab.n_tokens) for seed in range(3)]
    with f32_context(model, n_seq_max=4, n_cells=256, kv_unified=True) as context:
        session = Session(context)
        names = [session.submit(ask(prompt, max_tokens=50)) for prompt in prompts]
        session.run()
        assert session.engine.stats.preemptions_total > 0
        for name, prompt in zip(names, prompts, strict=True):
            assert list(session.outcomes[name].tokens[0]) == plain_greedy(model, prompt, 50)


def test_logit_bias_bans_and_forces(context: Context) -> None:
    session = Session(context)
    prompt = random_prompt(5, 10, session.runner.n_vocab)
    usual = session.tokens(ask(prompt, max_tokens=1))[0]
    assert session.tokens(ask(prompt, max_tokens=1, logit_bias=((usual, float("-inf")),))) != [usual]
    assert session.tokens(ask(prompt, max_tokens=3, logit_bias=((7, 1000.0),))) == [7, 7, 7]


def test_the_end_is_banned_until_min_tokens(model: Model, context: Context) -> None:
    session = Session(context)
    prompt = random_prompt(6, 10, session.runner.n_vocab)
    eos = model.vocab.eos
    assert eos is not None
    force_end = ((eos, 1000.0),)
    name = session.submit(ask(prompt, logit_bias=force_end, min_tokens=5, ignore_eos=False))
    session.run()
    assert session.outcomes[name].finish.usage.completion_tokens == 6
    assert session.outcomes[name].ends[0].finish_reason == "stop"
    assert eos not in session.tokens(ask(prompt, logit_bias=force_end, ignore_eos=True))


def test_penalties_know_the_prompt(context: Context) -> None:
    session = Session(context)
    prompt = [5, 6, 7, 8] * 5
    harsh: dict[str, Any] = {"repeat_penalty": 1000.0, "repeat_last_n": 64, "max_tokens": 20}
    assert not set(session.tokens(ask(prompt, **harsh))) & {5, 6, 7, 8}


def test_a_bad_parameter_is_refused_and_leaves_nothing(context: Context) -> None:
    session = Session(context)
    name = session.submit(ask([5, 6], top_p=3.0, temperature=1.0, n=3))
    session.run()
    assert session.outcomes[name].failure.param == "top_p"
    assert n_open(session) == 0


def test_logits_that_are_not_finite_fail_their_request_alone(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(context)
    bad = session.submit(ask([5, 6], max_tokens=5))
    good = session.submit(ask([7, 8], max_tokens=5))
    decode = context.decode

    def poison(batch: TokenBatch) -> None:
        decode(batch)
        context.logits()[0] = np.nan

    session.step()
    monkeypatch.setattr(context, "decode", poison)
    session.step()
    monkeypatch.setattr(context, "decode", decode)
    session.run()
    assert "aren't finite" in session.outcomes[bad].failure.message
    assert session.outcomes[good].finish.usage.completion_tokens == 5


@pytest.mark.parametrize("max_tokens", [0, 5])
def test_scores_that_are_not_finite_fail_their_request_alone(
    context: Context, monkeypatch: pytest.MonkeyPatch, max_tokens: int
) -> None:
    """Of a prompt's second token, where nothing is chosen."""
    session = Session(context)
    scored: dict[str, Any] = {"score_prompt": True, "n_probs": 1, "params": {"max_tokens": max_tokens}}
    bad, good = session.submit(Ask([5, 6, 9], **scored)), session.submit(Ask([7, 8, 9], **scored))
    decode = context.decode

    def poison(batch: TokenBatch) -> None:
        decode(batch)
        context.logits()[1] = np.nan

    monkeypatch.setattr(context, "decode", poison)
    session.step()
    monkeypatch.setattr(context, "decode", decode)
    session.run()
    assert "aren't finite" in session.outcomes[bad].failure.message
    assert session.outcomes[bad].prompt_logprobs is None
    assert session.outcomes[good].finish.usage.completion_tokens == max_tokens
    assert len(session.outcomes[good].prompt_logprobs or ()) == 3


def test_a_fatal_decode_breaks_the_engine(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(context)
    name = session.submit(ask([5, 6]))

    def fail(batch: TokenBatch) -> None:
        raise DecodeError("llama.cpp failed", -3)

    monkeypatch.setattr(context, "decode", fail)
    session.run()
    assert session.outcomes[name].failure.kind == "server_error"
    assert session.engine.fatal_error is not None


def test_nothing_of_a_runner_can_be_set(context: Context) -> None:
    runner = open_runner(context)
    for name in ("n_ctx", "can_trim", "on_decoded"):
        with pytest.raises(AttributeError):
            setattr(runner, name, None)
    with pytest.raises(FrozenInstanceError):
        RunnerParts().on_device = True  # type: ignore[misc]


def test_the_listener_hears_of_each_decode_before_its_tokens_are_chosen(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Listener:
        def decoded(self) -> None:
            order.append("decoded")

        def flush(self) -> None:
            order.append("flushed")

    read = DecodeOutputs.read

    def note(outputs: DecodeOutputs, *args: Any) -> Any:
        order.append("chosen")
        return read(outputs, *args)

    monkeypatch.setattr(DecodeOutputs, "read", note)
    session = Session(context, parts=RunnerParts(listener=Listener()))
    session.tokens(ask([5, 6], max_tokens=3))
    assert order == ["decoded", "chosen"] * 3
