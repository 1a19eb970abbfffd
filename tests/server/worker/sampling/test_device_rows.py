"""Rows that stay on the device, here the CPU: the tokens of whole rows, whatever shares the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models.errors import DecodeError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.device_top_k import DeviceTopK
from models.llamacpp.model import Model
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from server.worker.run.runner import RunnerParts
from server.worker.sampling import device_rows
from tests.server.worker.session import Ask, Session, ask, f32_context, random_prompt

pytestmark = pytest.mark.model

ON_DEVICE = RunnerParts(on_device=True)
SAMPLED: dict[str, Any] = {"temperature": 1.0, "seed": 5}


def few_and_whole(n_vocab: int) -> list[Ask]:
    """Requests that need whole rows among others that don't, more than there are slots."""
    prompts = [random_prompt(seed, 20 + 9 * seed, n_vocab) for seed in range(12)]
    kinds: list[dict[str, Any]] = [
        {},
        SAMPLED,
        {**SAMPLED, "top_p": 1.0, "min_p": 0.0, "top_k": 50},
        {**SAMPLED, "ignore_eos": False, "min_tokens": 5},
        {**SAMPLED, "top_k": 0},
        {**SAMPLED, "repeat_penalty": 1.2},
    ]
    asks = [ask(prompt, **kinds[number % 6]) for number, prompt in enumerate(prompts)]
    asks.insert(3, Ask(prompts[0], n_probs=2, params=SAMPLED))
    asks.insert(7, Ask(prompts[1], n_probs=1, score_prompt=True, params=SAMPLED))
    asks.append(ask(prompts[2], n=3, **SAMPLED))
    return asks


@pytest.fixture(params=[False, True], ids=["streams", "unified"])
def context(model: Model, request: pytest.FixtureRequest) -> Iterator[Context]:
    with f32_context(model, n_seq_max=4, kv_unified=request.param) as made:
        yield made


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each step that has rows on the device."""
    rows = DeviceTopK.rows
    steps: list[int] = []

    def counted(self: DeviceTopK, index: int) -> Any:
        steps.append(index)
        return rows(self, index)

    monkeypatch.setattr(DeviceTopK, "rows", counted)
    return steps


def on(session: Session) -> list[int]:
    """The slots that are turned on."""
    top_k = session.context.device_top_k(device_rows.LARGEST)
    return [slot for slot in range(session.context.n_seq_max) if slot in top_k]


@pytest.mark.parametrize("quiet_steps", [1, 3, 1000])
def test_tokens_are_those_of_whole_rows(
    context: Context, monkeypatch: pytest.MonkeyPatch, taken: list[int], quiet_steps: int
) -> None:
    asks = few_and_whole(context.n_vocab)
    whole = Session(context, prefill_chunk_tokens=16).answers(asks, steps_between=3)
    assert not taken
    monkeypatch.setattr(device_rows, "QUIET_STEPS", quiet_steps)
    context.clear()
    session = Session(context, parts=ON_DEVICE, prefill_chunk_tokens=16)
    few = session.answers(asks, steps_between=3)
    assert len(taken) > 20
    for there, here in zip(few, whole, strict=True):
        assert there.tokens == here.tokens
    for there, here in zip(few, whole, strict=True):
        assert (there.prompt_logprobs is None) == (here.prompt_logprobs is None)


def test_slots_go_off_when_rows_are_needed_whole_and_come_back_later(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_rows, "QUIET_STEPS", 10)
    session = Session(context, parts=ON_DEVICE)
    prompt = random_prompt(1, 20, context.n_vocab)
    session.answers([ask(prompt, **SAMPLED)])
    assert on(session) == [0, 1, 2, 3]
    session.answers([ask(prompt, max_tokens=5, top_k=0, **SAMPLED)])
    assert len(on(session)) == 3
    session.answers([ask(prompt, max_tokens=9)])
    assert len(on(session)) == 3
    session.answers([ask(prompt, max_tokens=2)])
    assert on(session) == [0, 1, 2, 3]
    session.answers([Ask(prompt, n_probs=0, score_prompt=True)])
    assert on(session) == []


def test_cancelled_and_preempted_sequences(model: Model, taken: list[int]) -> None:
    """A unified cache of 256 cells, and sequences that together want more."""
    asks = [ask(random_prompt(seed, 60, model.vocab.n_tokens), max_tokens=50, **SAMPLED) for seed in range(4)]
    answers = []
    for on_device in (False, True):
        with f32_context(model, n_seq_max=4, n_cells=256, kv_unified=True) as context:
            session = Session(context, parts=RunnerParts(on_device=on_device))
            cancelled = session.submit(ask(random_prompt(9, 20, context.n_vocab), max_tokens=200))
            for _ in range(5):
                session.step()
            session.engine.cancel(cancelled)
            answers.append([outcome.tokens for outcome in session.answers(asks)])
            assert session.engine.stats.preemptions_total > 0
    assert answers[0] == answers[1]
    assert taken


def test_drafts_are_checked_on_whole_rows(model: Model, taken: list[int]) -> None:
    prompt = [7, 8, 9, 10, 11, 12] * 6
    asks = [ask(prompt, max_tokens=60), ask(prompt, max_tokens=60, **SAMPLED)]
    answers = []
    for on_device in (False, True):
        with f32_context(model, n_seq_max=2) as context:
            speculation = Speculation(NgramProposer(), draft_max=5)
            session = Session(context, speculation, parts=RunnerParts(on_device=on_device))
            answers.append([outcome.tokens for outcome in session.answers(asks)])
    assert answers[0] == answers[1]


def test_a_decode_that_fails_costs_no_random_number(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = random_prompt(3, 30, context.n_vocab)
    asked = ask(prompt, cache_prompt=False, **SAMPLED)
    whole = Session(context).tokens(asked)
    context.clear()
    session = Session(context, parts=ON_DEVICE)
    decode = context.decode
    calls = 0

    def fail_sometimes(batch: TokenBatch) -> None:
        nonlocal calls
        calls += 1
        if calls % 5 == 3 and batch.n_tokens == 2:
            raise DecodeError("no free cells", 1)
        decode(batch)

    monkeypatch.setattr(context, "decode", fail_sometimes)
    other = session.submit(ask(prompt[:9], max_tokens=200))
    assert session.tokens(asked) == whole
    assert session.outcomes[other].finish.usage.completion_tokens > 0
    assert session.engine.stats.preemptions_total > 0
