"""The memory that the held-out check of calibrated files takes, reckoned before it begins. Pure."""

from __future__ import annotations

from typing import Final

from models.machine.fit import ModelFile, estimate
from quantize.evaluate.patched_model import most_windows
from quantize.evaluate.windows import N_BATCH, N_UBATCH

_REPLACED_ITEMSIZE: Final = 10
"""The bytes for each number of a weight while another is put in its place: its rows and the others as f32,
and as the model has them.
"""
_LOGIT_ITEMSIZE: Final = 16
"""The bytes for each logit of a batch: llama.cpp's, a copy, its logarithm, and what comparing takes."""


def check_bytes(model: ModelFile, largest: int, *, n_texts: int, n_windows: int, n_ctx: int) -> int:
    """Return the bytes that the held-out check takes beside the program: the 16-bit model and its contexts,
    its predictions, and a weight of `largest` numbers that is replaced.

    It runs `n_windows` windows of `n_ctx` tokens of each text.
    """
    n_vocab, at_once = model.n_vocab or 0, max(1, N_BATCH // n_ctx)
    needs = estimate(model, n_ctx, at_once, n_ubatch=N_UBATCH)
    n_scored = n_ctx - 1 - n_ctx // 2
    kept = n_texts * min(n_windows, most_windows(n_scored, max(n_vocab, 1), n_texts)) * n_scored
    batch = at_once * (n_scored + 1)
    predictions = (4 * kept + _LOGIT_ITEMSIZE * batch) * n_vocab
    return needs.weights + needs.kv + needs.compute + predictions + _REPLACED_ITEMSIZE * largest
