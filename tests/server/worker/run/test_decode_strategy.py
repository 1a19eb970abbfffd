"""How many decodes a step takes, in which context, and what a failed one leaves: by the runner's door."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.errors import DecodeError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.batch import Batch, BatchEntry, MemoryChange, Trim
from server.engine.sampling_params import SamplingParams
from server.worker.run.prefill_context import CHUNK_MIN, PrefillContext
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.server.worker.session import N_CTX, f32_context, random_prompt

pytestmark = pytest.mark.model

CHUNK = 40


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    with f32_context(model, n_seq_max=3) as made:
        yield made


def opened(context: Context, *, can_trim: bool = True, prefill: PrefillContext | None = None) -> LlamaRunner:
    """A runner with sequences 0 to 2 open, greedy, each in the slot of its number."""
    runner = LlamaRunner(context, N_CTX, can_trim=can_trim, parts=RunnerParts(prefill=prefill))
    for number in range(3):
        runner.open(number, SamplingParams(temperature=0.0), number, [5])
    return runner


def chunk(slot: int, n_tokens: int = CHUNK) -> BatchEntry:
    """A part of a prompt, of which nothing is wanted."""
    return BatchEntry(slot, slot, random_prompt(slot, n_tokens, 400), 0)


def token(slot: int, position: int = 0) -> BatchEntry:
    """A sequence that generates."""
    return BatchEntry(slot, slot, [5], position, 1)


def watch(context: Context, monkeypatch: pytest.MonkeyPatch, *, fail_at: int | None = None) -> list[int]:
    """The numbers of tokens of the context's decodes; the decode of number `fail_at` finds no room."""
    sizes: list[int] = []
    decode = context.decode

    def watched(batch: TokenBatch) -> None:
        sizes.append(batch.n_tokens)
        if fail_at == len(sizes) - 1:
            raise DecodeError("no room", 1)
        decode(batch)

    monkeypatch.setattr(context, "decode", watched)
    return sizes


def test_a_memory_that_cannot_be_trimmed_gets_all_at_once(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = opened(context, can_trim=False)
    sizes = watch(context, monkeypatch)
    assert len(runner.run(Batch(entries=[chunk(0), token(1)]))) == 1
    assert sizes == [CHUNK + 1]


@pytest.mark.parametrize(
    ("entries", "sizes"),
    [
        ([chunk(0), token(1), token(2)], [CHUNK, 2]),
        ([token(0), chunk(1), chunk(2)], [2 * CHUNK, 1]),
        ([chunk(0), chunk(1)], [2 * CHUNK]),
        ([token(0), token(1)], [2]),
        ([chunk(0)], [CHUNK]),
    ],
)
def test_on_a_cpu_chunks_are_decoded_apart(
    context: Context, monkeypatch: pytest.MonkeyPatch, entries: list[BatchEntry], sizes: list[int]
) -> None:
    runner = opened(context)
    seen = watch(context, monkeypatch)
    results = runner.run(Batch(entries=entries))
    assert seen == sizes
    assert len(results) == sum(entry.n_outputs for entry in entries)


@pytest.mark.parametrize("fail_at", [0, 1])
def test_chunks_of_a_failed_step_are_taken_back(
    context: Context, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    runner, batch = opened(context), Batch(entries=[chunk(0), token(1)])
    with monkeypatch.context() as patch:
        watch(context, patch, fail_at=fail_at)
        with pytest.raises(DecodeError):
            runner.run(batch)
    assert [context.seq_pos_max(slot) for slot in range(3)] == [None] * 3
    assert len(runner.run(batch)) == 1, "the same step comes again"


def test_long_chunks_are_computed_in_the_prefill_context(
    model: Model, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with f32_context(model, n_seq_max=3) as second:
        runner = opened(context, prefill=PrefillContext(context, second))
        main, prompts = watch(context, monkeypatch), watch(second, monkeypatch)
        results = runner.run(Batch(entries=[chunk(0), token(1), chunk(2, CHUNK_MIN - 1)]))
        assert len(results) == 1
        assert (main, prompts) == ([CHUNK_MIN], [CHUNK])
        runner.run(Batch(entries=[token(1, 1)]))
        assert (main, prompts) == ([CHUNK_MIN, 1], [CHUNK]), "a step without a chunk knows nothing of it"


@pytest.mark.parametrize("fails_in_main", [False, True])
def test_the_prefill_context_takes_chunks_back_too(
    model: Model, context: Context, monkeypatch: pytest.MonkeyPatch, fails_in_main: bool
) -> None:
    with f32_context(model, n_seq_max=3) as second:
        runner = opened(context, prefill=PrefillContext(context, second))
        batch = Batch(entries=[chunk(0), token(1)])
        with monkeypatch.context() as patch:
            watch(context if fails_in_main else second, patch, fail_at=0)
            with pytest.raises(DecodeError):
                runner.run(batch)
        assert second.seq_pos_max(0) is None
        assert len(runner.run(batch)) == 1


def test_rows_of_nothing_join_what_lies_apart_and_leave_no_trace(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = opened(context)
    assert runner.can_pad
    runner.run(Batch(entries=[chunk(0), chunk(1, 5)]))
    held = [context.seq_pos_max(slot) for slot in range(context.n_seq_max)]
    entries = [token(0, CHUNK), token(2)]
    plain = runner.run(Batch(entries=entries))
    again: list[MemoryChange] = [Trim(0, CHUNK), Trim(2, 0)]
    sizes = watch(context, monkeypatch)
    padded = runner.run(Batch(memory=again, entries=entries, pads={0: 2, 1: 3, 2: 2}))
    assert sizes == [9]
    assert padded == plain
    held[0], held[2] = CHUNK, 0
    assert [context.seq_pos_max(slot) for slot in range(context.n_seq_max)] == held


def test_a_slot_whose_chunk_was_computed_before_may_be_filled(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = opened(context)
    sizes = watch(context, monkeypatch)
    runner.run(Batch(entries=[token(0), chunk(1), token(2)], pads={1: 1}))
    assert sizes == [CHUNK, 3]
    assert context.seq_pos_max(1) == CHUNK - 1
