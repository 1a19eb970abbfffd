"""LlamaRunner under the real engine, all in F32: what else is in the batch must not change a token."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import DecodeError, RequestError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.engine import Engine, EngineConfig
from server.engine.events import Finish
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.worker.runner import LlamaRunner
from server.worker.sampling.chain_params import sampler_params
from tests.server.engine.harness import Outcome

pytestmark = pytest.mark.model

N_CTX = 256
_ids = itertools.count()


@pytest.fixture(scope="module")
def model(pico_path: Path) -> Iterator[Model]:
    with Model.load(pico_path) as loaded:
        yield loaded


@pytest.fixture(params=[False, True], ids=["streams", "unified"])
def context(model: Model, request: pytest.FixtureRequest) -> Iterator[Context]:
    with make_context(model, kv_unified=request.param) as made:
        yield made


def make_context(
    model: Model, *, n_seq_max: int = 4, n_ctx: int = N_CTX, kv_unified: bool = False
) -> Context:
    """F32 throughout and no flash attention, which computes in F16: so what else is in a batch changes only
    the last bits of a logit."""
    return Context(
        model,
        n_ctx=n_ctx * n_seq_max,
        n_batch=128,
        n_ubatch=64,
        n_seq_max=n_seq_max,
        n_threads=1,
        kv_unified=kv_unified,
        flash_attn="off",
        type_k="f32",
        type_v="f32",
    )


class Session:
    """An engine on a real context."""

    def __init__(self, context: Context, **config: Any) -> None:
        self.context = context
        self.runner = LlamaRunner(context, N_CTX)
        self.runner.warm_up()
        self.engine = Engine(self.runner, EngineConfig(**config))
        self.outcomes: dict[str, Outcome] = {}

    def submit(self, prompt: list[int], *, n: int = 1, cache_prompt: bool = True, **params: Any) -> str:
        options: dict[str, Any] = {"temperature": 0.0, "max_tokens": 24, "ignore_eos": True, **params}
        name = f"r{next(_ids)}"
        self.outcomes[name] = Outcome()
        self.engine.submit(
            EngineRequest(
                id=name,
                prompt_tokens=prompt,
                params=SamplingParams(**options),
                n=n,
                cache_prompt=cache_prompt,
                return_tokens=True,
            )
        )
        return name

    def step(self) -> None:
        for event in self.engine.step():
            self.outcomes[event.id].take(event)
        self.engine.check_integrity()
        for slot in self.engine._cache.slots:
            last = self.context.seq_pos_max(slot.id)
            assert slot.n_held <= (0 if last is None else last + 1)

    def run(self) -> None:
        while self.engine.has_work:
            self.step()

    def tokens(self, prompt: list[int], **options: Any) -> list[int]:
        name = self.submit(prompt, **options)
        self.run()
        assert isinstance(self.outcomes[name].terminal, Finish)
        return list(self.outcomes[name].tokens[0])


def prompt_of(seed: int, length: int, n_vocab: int) -> list[int]:
    random = np.random.Generator(np.random.PCG64(seed))
    return [int(token) for token in random.integers(3, n_vocab, length)]


def plain_greedy(model: Model, prompt: list[int], n_tokens: int) -> list[int]:
    """A loop over llama.cpp and nothing else."""
    said: list[int] = []
    with make_context(model, n_seq_max=1) as context:
        batch = TokenBatch(len(prompt))
        last = batch.add_many(prompt, 0, 0, output_last=True)
        eog = list(model.vocab.eog_tokens)
        while True:
            context.decode(batch)
            row = context.logits_row(last).copy()
            row[eog] = -np.inf
            said.append(int(row.argmax()))
            if len(said) == n_tokens:
                return said
            batch.clear()
            last = batch.add(said[-1], len(prompt) + len(said) - 1, 0, True)


def test_greedy_equals_a_plain_loop(model: Model, context: Context) -> None:
    session = Session(context)
    for seed, length in enumerate((1, 2, 60, 100)):
        prompt = prompt_of(seed, length, session.runner.n_vocab)
        assert session.tokens(prompt) == plain_greedy(model, prompt, 24)


def test_neighbours_change_nothing(model: Model, context: Context) -> None:
    session = Session(context, prefill_chunk_tokens=7)
    prompts = [prompt_of(seed, 20 + 9 * seed, session.runner.n_vocab) for seed in range(9)]
    names = [session.submit(prompt) for prompt in prompts[:5]]
    for prompt in prompts[5:]:
        session.step()
        session.step()
        names.append(session.submit(prompt))
    session.run()
    for name, prompt in zip(names, prompts, strict=True):
        assert list(session.outcomes[name].tokens[0]) == plain_greedy(model, prompt, 24)


def test_a_prefix_hit_gives_the_tokens_of_a_cold_run(model: Model, context: Context) -> None:
    session = Session(context, copy_tokens_min=8)
    shared = prompt_of(1, 80, session.runner.n_vocab)
    first = session.tokens(shared)
    for ending in range(6):
        prompt = [*shared, *first[: ending * 3], 5 + ending, 7]
        name = session.submit(prompt)
        session.run()
        assert session.outcomes[name].finish.usage.cached_tokens >= 80
        assert list(session.outcomes[name].tokens[0]) == plain_greedy(model, prompt, 24)


def test_a_prefix_is_shared_with_a_running_owner(model: Model, context: Context) -> None:
    session = Session(context, copy_tokens_min=8)
    shared = prompt_of(2, 90, session.runner.n_vocab)
    owner = session.submit(shared, max_tokens=40)
    for _ in range(5):
        session.step()
    prompt = [*shared[:70], 9]
    guest = session.submit(prompt)
    session.run()
    assert session.outcomes[guest].finish.usage.cached_tokens == 70
    assert list(session.outcomes[guest].tokens[0]) == plain_greedy(model, prompt, 24)
    assert list(session.outcomes[owner].tokens[0]) == plain_greedy(model, shared, 40)


def test_choices_share_their_prompt_and_differ_by_seed(context: Context) -> None:
    session = Session(context, copy_tokens_min=8)
    prompt = prompt_of(3, 100, session.runner.n_vocab)
    name = session.submit(prompt, n=6, temperature=1.0, seed=11, cache_prompt=False)
    session.run()
    outcome = session.outcomes[name]
    assert len(set(outcome.tokens.values())) == 6
    assert outcome.finish.timings.prompt_n < 2 * len(prompt)
    alone = session.tokens(prompt, temperature=1.0, seed=13, cache_prompt=False)
    assert alone == list(outcome.tokens[2])


def test_a_seed_repeats_beside_others(context: Context) -> None:
    session = Session(context)
    prompt = prompt_of(4, 30, session.runner.n_vocab)
    options: dict[str, Any] = {"temperature": 0.9, "top_k": 50, "seed": 99, "repeat_penalty": 1.1}
    alone = session.tokens(prompt, **options)
    for seed in range(3):
        session.submit(prompt_of(seed, 50, session.runner.n_vocab), temperature=1.0)
    assert session.tokens(prompt, **options) == alone
    assert session.tokens(prompt, **{**options, "seed": 100}) != alone


def test_cancelling_frees_the_slot_for_the_next(model: Model, context: Context) -> None:
    session = Session(context)
    running = [
        session.submit(prompt_of(seed, 40, session.runner.n_vocab), max_tokens=200) for seed in range(4)
    ]
    prompt = prompt_of(9, 40, session.runner.n_vocab)
    waiting = session.submit(prompt)
    for _ in range(4):
        session.step()
    for name in running:
        session.engine.cancel(name)
    session.run()
    assert session.runner._samplers._sequences == {}
    assert list(session.outcomes[waiting].tokens[0]) == plain_greedy(model, prompt, 24)


def test_a_full_cache_preempts_and_the_tokens_stay_right(model: Model) -> None:
    """A unified cache of 256 cells, and three sequences that together want 330."""
    prompts = [prompt_of(seed, 60, model.vocab.n_tokens) for seed in range(3)]
    with make_context(model, n_ctx=64, kv_unified=True) as context:
        session = Session(context)
        names = [session.submit(prompt, max_tokens=50) for prompt in prompts]
        session.run()
        assert session.engine.stats.preemptions_total > 0
        for name, prompt in zip(names, prompts, strict=True):
            assert list(session.outcomes[name].tokens[0]) == plain_greedy(model, prompt, 50)


def test_logit_bias_bans_and_forces(context: Context) -> None:
    session = Session(context)
    prompt = prompt_of(5, 10, session.runner.n_vocab)
    usual = session.tokens(prompt, max_tokens=1)[0]
    assert session.tokens(prompt, max_tokens=1, logit_bias=((usual, float("-inf")),)) != [usual]
    assert session.tokens(prompt, max_tokens=3, logit_bias=((7, 1000.0),)) == [7, 7, 7]


def test_the_end_is_banned_until_min_tokens(model: Model, context: Context) -> None:
    session = Session(context)
    prompt = prompt_of(6, 10, session.runner.n_vocab)
    eos = model.vocab.eos
    assert eos is not None
    force_end = ((eos, 1000.0),)
    name = session.submit(prompt, logit_bias=force_end, min_tokens=5, ignore_eos=False)
    session.run()
    assert session.outcomes[name].finish.usage.completion_tokens == 6
    assert session.outcomes[name].ends[0].finish_reason == "stop"
    assert eos not in session.tokens(prompt, logit_bias=force_end, ignore_eos=True)


def test_penalties_know_the_prompt(context: Context) -> None:
    session = Session(context)
    prompt = [5, 6, 7, 8] * 5
    harsh: dict[str, Any] = {"repeat_penalty": 1000.0, "repeat_last_n": 64, "max_tokens": 20}
    assert not set(session.tokens(prompt, **harsh)) & {5, 6, 7, 8}


def test_a_bad_parameter_is_refused_and_leaves_nothing(context: Context) -> None:
    session = Session(context)
    name = session.submit([5, 6], top_p=3.0, temperature=1.0, n=3)
    session.run()
    assert session.outcomes[name].failure.param == "top_p"
    assert session.runner._samplers._sequences == {}


def test_logits_that_are_not_finite_fail_their_request_alone(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(context)
    bad = session.submit([5, 6], max_tokens=5)
    good = session.submit([7, 8], max_tokens=5)
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


def test_a_fatal_decode_breaks_the_engine(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(context)
    name = session.submit([5, 6])

    def fail(batch: TokenBatch) -> None:
        raise DecodeError("llama.cpp failed", -3)

    monkeypatch.setattr(context, "decode", fail)
    session.run()
    assert session.outcomes[name].failure.kind == "server_error"
    assert session.engine.broken is not None


def test_warm_up_leaves_the_cache_empty(context: Context) -> None:
    runner = LlamaRunner(context, N_CTX)
    runner.warm_up()
    assert runner.can_trim
    assert [context.seq_pos_max(slot) for slot in range(4)] == [None] * 4


def test_unset_parameters_become_llama_cpps_own() -> None:
    params = sampler_params(SamplingParams(), 5, 1000)
    assert (params.top_n_sigma, params.dry_penalty_last_n, params.seed) == (-1.0, 1000, 5)
    with pytest.raises(RequestError):
        sampler_params(SamplingParams(min_p=-1.0), 5, 1000).check(100)
