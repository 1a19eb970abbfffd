"""llama.cpp's own chain as the measure of what RowSamplers picks, over any size of vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.llamacpp.sampler import SamplerChain
from models.llamacpp.vocab import Vocab
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.chain import active_steps, make_chain
from server.worker.sampling.row_samplers import RowRequest, RowSamplers

Logits = npt.NDArray[np.float32]
N_CTX = 512
PROMPT = [5, 6, 7, 7, 8, 9, 7, 30, 31]
NO_CONTEXT = None
"""For what doesn't go through the chain over a whole row."""


class SizedVocab(Vocab):
    """A vocabulary of `n_tokens` that has no model: samplers ask for no more."""

    def __init__(self, n_tokens: int, suppressed: tuple[int, ...] = ()) -> None:
        self.n_tokens = n_tokens
        self.eog_tokens = (2, 3)
        self.suppressed_tokens = suppressed


def random_logits(random: np.random.Generator, n_rows: int, n_vocab: int, scale: float) -> Logits:
    return (random.standard_normal((n_rows, n_vocab)) * scale).astype(np.float32)


def open_chain(vocab: Vocab, params: dict[str, Any], seed: int) -> SamplerChain:
    """Return the chain of a request with these parameters, the prompt accepted."""
    return make_chain(vocab, active_steps(SamplingParams(**params)), seed, N_CTX, PROMPT)


def pick(chain: SamplerChain, row: npt.NDArray[np.float32]) -> int:
    """Return the token that the chain picks of a row [V], and have the chain accept it."""
    token = chain.apply(row).selected
    chain.accept(token)
    return token


def open_rows(vocab: Vocab, requests: Sequence[dict[str, Any]], first_seed: int = 0) -> RowSamplers:
    """Open sequences 0 … of these parameters, with seeds from `first_seed` on."""
    samplers = RowSamplers(vocab, N_CTX)
    for number, params in enumerate(requests):
        samplers.open(number, SamplingParams(**params), first_seed + number, PROMPT)
    return samplers


def sample_rows(samplers: RowSamplers, logits: Logits, sequence_ids: Sequence[int]) -> list[int]:
    """Return one token of each row, which belong to these sequences; the logits are left as they are."""
    wanted = [RowRequest(number, row, row, [], ban_eog=False) for row, number in enumerate(sequence_ids)]
    answers = samplers.sample(NO_CONTEXT, logits.copy(), wanted)
    tokens = []
    for answer in answers:
        assert isinstance(answer, list), answer
        tokens += answer
    assert len(tokens) == len(sequence_ids)
    return tokens
