"""Masks are those of llguidance's own call, however they are computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from llguidance import LLMatcher

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from server.worker.sampling import token_bans
from server.worker.sampling.row_bans import BITS, RowBans, n_words, read_bans
from server.worker.sampling.sequence_guide import SequenceGuide
from server.worker.sampling.token_bans import TokenBans
from tests.server.worker.grammars import Grammars, small_schemas

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path: Path = tmp_path_factory.mktemp("bans") / "model.gguf"
    write_tiny_gguf(path, TinyModel())
    with Model.load(path) as loaded:
        yield loaded


def bans_by_itself(matcher: LLMatcher, vocab: Vocab) -> RowBans:
    words = np.zeros((1, n_words(vocab.n_tokens)), np.uint32)
    matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.shape[1] * BITS // 8)
    return read_bans(words, vocab.n_tokens)[0]


def allowed(bans: RowBans, n_vocab: int) -> list[int]:
    row = np.zeros(n_vocab, np.float32)
    bans.ban(row)
    return np.flatnonzero(row == 0.0).tolist()


@pytest.mark.parametrize("has_free_core", [False, True])
@pytest.mark.parametrize("slow_s", [0.0, 1e9])
def test_masks_of_rows_and_drafts(
    model: Model, has_free_core: bool, slow_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_bans, "SLOW_S", slow_s)
    grammars, n_vocab = Grammars(model.vocab), model.vocab.n_tokens
    bans = TokenBans(n_vocab, has_free_core=has_free_core)
    guides = [SequenceGuide(grammars.schema(schema), at_once=False) for schema in small_schemas()]
    for _ in range(6):
        wanted = []
        for number, guide in enumerate(guides):
            while guide.has_forced:
                guide.take()
            if guide.needs_bans and not guide.is_over:
                assert guide.matcher is not None
                draft = (
                    allowed(bans_by_itself(guide.matcher, model.vocab), n_vocab)[-1:]
                    if number % 3 == 0
                    else []
                )
                wanted.append((guide, draft))
        bans.start(wanted)
        bans.wait()
        for guide, draft in wanted:
            assert guide.matcher is not None
            assert len(guide.bans) == 1 + len(draft)
            expected = allowed(bans_by_itself(guide.matcher, model.vocab), n_vocab)
            assert allowed(guide.bans[0], n_vocab) == expected
            if draft:
                follower = guide.matcher.deep_copy()
                assert follower.consume_token(draft[0])
                if not follower.is_stopped():
                    assert allowed(guide.bans[1], n_vocab) == allowed(
                        bans_by_itself(follower, model.vocab), n_vocab
                    )
            assert guide.consume(expected[-1]) is None


def test_nothing_is_started_for_nobody(model: Model) -> None:
    bans = TokenBans(model.vocab.n_tokens, has_free_core=True)
    bans.start([])
    bans.wait()
    assert bans._thread is None
