"""Layers that keep windows alone, in F32: guesses, wrong ones too, and a full cache change no token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import DecodeError
from models.gguf.info import read_gguf_info
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.batch import Batch, BatchEntry
from server.engine.sampling_params import SamplingParams
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Proposer, Speculation
from server.worker.open.heads import open_head
from server.worker.open.warm_up import warm_up
from server.worker.run.draft_head import HeadProposer
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.head_gguf import write_head_gguf
from tests.server.engine.harness import Outcome
from tests.server.worker.family_models import write_family_gguf
from tests.server.worker.open.loaded import spec_of
from tests.server.worker.session import Ask, Session, ask, f32_context, random_prompt
from tests.server.worker.test_speculation_model import Knowing

pytestmark = pytest.mark.model
N_CTX = 500


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """gpt-oss, whose first layer sees 16 tokens: of a slot's 512 cells it keeps 256."""
    with Model.load(write_family_gguf("gpt-oss", tmp_path_factory.mktemp("window"))) as model:
        yield model


@pytest.fixture(scope="module")
def asks(windowed: Model) -> list[Ask]:
    """Texts that repeat, longer than the cells of a window, two of which begin alike; one has choices."""
    n_vocab = windowed.vocab.n_tokens
    shared, cycle = random_prompt(1, 290, n_vocab), random_prompt(2, 7, n_vocab)
    return [
        ask([*shared, *cycle * 4], max_tokens=40),
        ask([*shared, *cycle * 2, 9], max_tokens=30),
        ask(cycle * 45, max_tokens=50),
        ask([*random_prompt(3, 260, n_vocab), *cycle * 3], n=2, max_tokens=30, temperature=0.7, seed=4),
    ]


@pytest.fixture(scope="module")
def expected(windowed: Model, asks: list[Ask]) -> list[Outcome]:
    """What is said one after the other, with all cells and without guesses."""
    with f32_context(windowed, n_seq_max=2, n_cells=1024) as context:
        session = WindowSession(context)
        return [session.answers([one])[0] for one in asks]


class WindowSession(Session):
    """A session whose requests may have `N_CTX` tokens, and each draft as many as it may."""

    def __init__(
        self, context: Context, proposer: Proposer | None = None, *, guesses: int = 6, chunk: int = 512
    ) -> None:
        measured = warm_up(context, N_CTX)
        log = proposer.log if isinstance(proposer, HeadProposer) else None
        runner = LlamaRunner(
            context,
            N_CTX,
            can_trim=measured.can_trim,
            can_rewind=measured.can_rewind,
            parts=RunnerParts(hidden_states=log),
        )
        super().__init__(
            context,
            None if proposer is None else Speculation(proposer, draft_max=guesses),
            runner,
            copy_tokens_min=8,
            checkpoint_tokens=64,
            checkpoint_bytes=1 << 24,
            prefill_chunk_tokens=chunk,
        )
        self.engine.step_cost.estimate = lambda n_tokens: None  # type: ignore[method-assign]


def assert_said(found: list[Outcome], expected: list[Outcome]) -> None:
    assert [got.tokens for got in found] == [wanted.tokens for wanted in expected]


Maker = Callable[[Context, list[Ask], list[Outcome], Path], Proposer]


def repeats(context: Context, asks: list[Ask], expected: list[Outcome], folder: Path) -> Proposer:
    return NgramProposer((3, 1))


def right_or_wrong(context: Context, asks: list[Ask], expected: list[Outcome], folder: Path) -> Proposer:
    return Knowing(asks, expected, 0.6, context.model.vocab.n_tokens)


def random_head(context: Context, asks: list[Ask], expected: list[Outcome], folder: Path) -> Proposer:
    path = write_head_gguf(folder / "head.gguf", context.model.path)
    spec = spec_of(context.model.path, type_k="f32", type_v="f32", flash_attn="off")
    return open_head(spec, read_gguf_info(path), read_gguf_info(context.model.path), context)


@pytest.mark.parametrize("make", [repeats, right_or_wrong, random_head], ids=lambda make: make.__name__)
@pytest.mark.parametrize("kv_unified", [False, True], ids=["streams", "unified"])
def test_guesses(
    windowed: Model,
    asks: list[Ask],
    expected: list[Outcome],
    make: Maker,
    kv_unified: bool,
    tmp_path: Path,
) -> None:
    """Beside prompts that arrive; what repeats is said once more, when what was said is there."""
    with f32_context(windowed, n_seq_max=4, n_cells=2048, kv_unified=kv_unified, swa_full=False) as context:
        session = WindowSession(context, make(context, asks, expected, tmp_path))
        assert session.runner.forgets
        for _ in range(2 if make is repeats else 1):
            found = session.answers(asks, steps_between=2)
            assert_said(found, expected)
        timings = [outcome.finish.timings for outcome in found]
        assert sum(each.draft_n - each.draft_n_accepted for each in timings) > 0
        assert make is random_head or sum(each.draft_n_accepted for each in timings) > 0


def test_a_full_cache(windowed: Model, asks: list[Ask], expected: list[Outcome]) -> None:
    with f32_context(windowed, n_seq_max=4, n_cells=768, kv_unified=True, swa_full=False) as context:
        session = WindowSession(context, NgramProposer((3, 1)), chunk=100)
        assert_said(session.answers(asks, steps_between=3), expected)
        assert session.engine.stats.preemptions_total > 0


def test_a_step_without_room_takes_nothing_from_a_window(windowed: Model) -> None:
    """A chunk of a prompt that was computed is taken back; no batch is longer than a pass."""
    with f32_context(windowed, n_seq_max=2, n_cells=512, kv_unified=True, swa_full=False) as context:
        runner = LlamaRunner(context, N_CTX, can_trim=True)

        def entry(slot: int, n_tokens: int, position: int, n_outputs: int = 0) -> BatchEntry:
            tokens = random_prompt(position, n_tokens, context.n_vocab)
            return BatchEntry(slot, slot, tokens, position, n_outputs)

        assert runner.n_batch == context.n_ubatch < context.n_batch
        for slot in range(2):
            runner.open(slot, SamplingParams(temperature=0.0), slot, [5])
        for position in range(0, 300, 60):
            runner.run(Batch(entries=[entry(0, 60, position)]))
        for position in range(0, 150, 50):
            runner.run(Batch(entries=[entry(1, 50, position)]))
        with pytest.raises(DecodeError) as caught:
            runner.run(Batch(entries=[entry(0, 58, 300), entry(1, 5, 150, 1)]))
        assert caught.value.status == 1
        assert runner.holds(0, 300)


def test_why_no_batch_is_longer_than_a_pass(windowed: Model) -> None:
    """llama.cpp drops for a second pass what the first one sees. Once it doesn't, the limit can go."""
    n_vocab = windowed.vocab.n_tokens
    told, other = random_prompt(1, 40, n_vocab), random_prompt(2, 600, n_vocab)
    with f32_context(windowed, n_cells=1024) as context:
        decode(context, (0, told[:24], 0))
        expected = decode(context, (0, told[24:], 24))

    def found(n_beside: int) -> npt.NDArray[np.float32]:
        """Compute the last 16 tokens beside so many of another slot, where cells lie in an unlucky order."""
        with f32_context(windowed, n_seq_max=3, n_cells=2048, kv_unified=True, swa_full=False) as context:
            decode(context, (2, other[:40], 0))
            for start in range(0, 192, 64):
                decode(context, (1, other[start : start + 64], start))
            decode(context, (0, told[:18], 0))
            context.seq_rm(2)
            decode(context, (0, told[18:24], 18))
            for start, end in ((192, 252), (252, 316), (316, 369)):
                decode(context, (1, other[start:end], start))
            return decode(context, (0, told[24:], 24), (1, other[369 : 369 + n_beside], 369))[:16]

    np.testing.assert_allclose(found(48), expected, atol=1e-4)
    assert np.abs(found(92) - expected).max() > 0.01


def decode(context: Context, *parts: tuple[int, list[int], int]) -> npt.NDArray[np.float32]:
    """Compute tokens of slots at positions; return the logits after each."""
    batch = TokenBatch(context.n_batch)
    for slot, tokens, position in parts:
        batch.add_many(tokens, position, slot, output_last=True, output_all=True)
    context.decode(batch)
    return context.logits().copy()
