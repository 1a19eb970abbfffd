"""`measure_steps`: the time of a few sizes of steps in a new context, for the engine's `StepCost`."""

from __future__ import annotations

import time

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context

SIZES = (1, 4, 2, 8, 16, 32)
"""Steps of so many tokens are tried, in this order: the first two always, the others while there is time."""
TRIES = 3
"""So many steps of each, while there is time: the first makes llama.cpp's graph of that size."""
ENOUGH_S = 0.4
"""No other size, and none again, is tried after this many seconds."""


def measure_steps(context: Context) -> list[tuple[int, float]]:
    """Return (tokens, seconds) of steps that check a draft: one sequence with a row of logits per token.

    The context is warm, and empty before and after. Other work on the machine only ever adds, so the quickest
    of a few counts. Raises DecodeError.
    """
    most = min(context.n_ctx_seq, context.n_batch)
    batch, times = TokenBatch(max(SIZES)), []
    end_s = time.monotonic() + ENOUGH_S
    for number, size in enumerate(size for size in SIZES if size <= most):
        if number >= 2 and time.monotonic() > end_s:
            break
        times.append((size, _step_s(context, batch, size, end_s)))
    return times


def _step_s(context: Context, batch: TokenBatch, n_tokens: int, end_s: float) -> float:
    """Return the least seconds of steps of unlike tokens, which keep unlike experts busy."""
    least_s = float("inf")
    context.clear()
    for first in range(0, min(TRIES * n_tokens, context.n_ctx_seq - n_tokens + 1), n_tokens):
        batch.clear()
        for i in range(n_tokens):
            batch.add(i * context.n_vocab // n_tokens, first + i, 0, True)
        start_s = time.monotonic()
        context.decode(batch)
        now_s = time.monotonic()
        least_s = min(least_s, now_s - start_s)
        if now_s > end_s:
            break
    context.clear()
    return least_s
