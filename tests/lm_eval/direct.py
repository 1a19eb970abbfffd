"""What llama.cpp itself says of a text: one sequence alone in one llama_decode, its logits in float64.

The other side of the comparison, without anything of the server: no batch of others, no chunks, no cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model

N_CTX = 512


class Score(NamedTuple):
    """Of a continuation: the sum of its tokens' logprobs, and whether each was the likeliest."""

    logprob: float
    is_greedy: bool


class Direct:
    """One model with a context of its own. `exact`: keys and values in F32, no flash attention."""

    def __init__(self, model: Model, *, exact: bool) -> None:
        kv_type = "f32" if exact else "f16"
        self._vocab = model.vocab
        self._context = Context(
            model,
            n_ctx=N_CTX,
            n_batch=N_CTX,
            n_ubatch=N_CTX,
            n_threads=1,
            flash_attn="off" if exact else "auto",
            type_k=kv_type,
            type_v=kv_type,
        )
        self._batch = TokenBatch(N_CTX)

    @property
    def bos(self) -> int:
        bos = self._vocab.bos
        assert bos is not None
        return bos

    def tokens(self, text: str) -> list[int]:
        """As lm-eval asks a tokenizer: special tokens are read but not added."""
        return self._vocab.tokenize(text, add_special=False, parse_special=True)

    def score_pair(self, context: str, continuation: str, prefix: Sequence[int] = ()) -> Score:
        """As lm-eval cuts them: the tokens of both together, from where the context's own tokens end."""
        before = self.tokens(context)
        return self.score([*prefix, *before], self.tokens(context + continuation)[len(before) :])

    def score(self, before: Sequence[int], scored: Sequence[int]) -> Score:
        """How likely `scored` is after `before`, which holds at least one token."""
        tokens = [*before, *scored]
        n, first = len(tokens), len(before) - 1
        self._context.clear()
        self._batch.fill(tokens, range(n), [0] * n, [int(first <= i < n - 1) for i in range(n)])
        self._context.decode(self._batch)
        rows = self._context.logits().astype(np.float64)
        chosen = rows[np.arange(len(scored)), list(scored)]
        return Score(float(log_softmax_at(rows, scored).sum()), bool((chosen == rows.max(axis=1)).all()))

    def answer(self, prompt: str, n_tokens: int, prefix: Sequence[int] = ()) -> str:
        """The greedy continuation up to the end of the turn, or of `n_tokens`."""
        tokens = [*prefix, *self.tokens(prompt)]
        said: list[int] = []
        self._context.clear()
        self._batch.clear()
        self._batch.add_many(tokens, 0, 0, output_last=True)
        while len(said) < n_tokens:
            self._context.decode(self._batch)
            token = int(self._context.logits()[0].argmax())
            if self._vocab.is_eog(token):
                break
            said.append(token)
            self._batch.clear()
            self._batch.add(token, len(tokens) + len(said) - 1, 0, True)
        return b"".join(self._vocab.piece(token) for token in said).decode("utf-8", "replace")


def log_softmax_at(rows: npt.NDArray[np.float64], tokens: Sequence[int]) -> npt.NDArray[np.float64]:
    """log p of `tokens[i]` in row i of [n, n_vocab] logits: [n]."""
    highest = rows.max(axis=1)
    normalizers = highest + np.log(np.exp(rows - highest[:, None]).sum(axis=1))
    found: npt.NDArray[np.float64] = rows[np.arange(len(tokens)), list(tokens)] - normalizers
    return found
