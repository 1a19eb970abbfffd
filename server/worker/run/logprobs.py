"""Log-probabilities of tokens in the model's own distribution, from rows of logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from server.engine.events import TokenLogprob

_ROWS = 16
"""At most this many rows are worked on at once, so that what they need stays small."""


def token_logprobs(
    rows: npt.NDArray[np.float32], tokens: Sequence[int], n_top: int, piece: Callable[[int], bytes]
) -> list[TokenLogprob]:
    """Return the logprob of each of `tokens` by its row of `rows`: [n, n_vocab] logits, at least as many.

    With `n_top` alternatives, most likely first, of equals the lower id; a token that is among them has there
    the identical number. Raises LlamaCppError for a row whose maximum isn't finite.
    """
    result: list[TokenLogprob] = []
    for start in range(0, len(tokens), _ROWS):
        some = tokens[start : start + _ROWS]
        block = rows[start : start + len(some)]
        normalizers = log_normalizers(block)
        tops = top_tokens(block, n_top)
        for row, token, normalizer, top in zip(block, some, normalizers, tops, strict=True):
            result.append(
                TokenLogprob(
                    token,
                    piece(token),
                    float(row[token]) - float(normalizer),
                    tuple((int(t), piece(int(t)), float(row[t]) - float(normalizer)) for t in top),
                )
            )
    return result


def not_finite() -> LlamaCppError:
    """Return the error for a row of logits with NaN in it, an infinite one, or none above -inf."""
    return LlamaCppError(
        "the model's logits aren't finite; its weights are damaged or its file was quantized "
        "too far: quantize or pull it again"
    )


def log_normalizers(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return log Σ exp of each row of [n, n_vocab]: [n] f64. Raises LlamaCppError: a maximum isn't finite."""
    highest = rows.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise not_finite()
    sums = np.exp(rows - highest).sum(axis=1, dtype=np.float64)
    normalizers: npt.NDArray[np.float64] = highest[:, 0].astype(np.float64) + np.log(sums)
    return normalizers


def top_tokens(rows: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.intp]:
    """Return the ids of the `n` highest of each row of [m, n_vocab], the highest first: [m, n]."""
    n = min(n, rows.shape[1])
    if n == 0:
        return np.empty((len(rows), 0), np.intp)
    ids = np.sort(np.argpartition(-rows, n - 1, axis=1)[:, :n], axis=1)
    values = np.take_along_axis(rows, ids, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1)
