"""`measure_steps`: the time of a few sizes of steps in a new context, for the engine's `StepCost`."""

from __future__ import annotations

import time

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context

SIZES = (1, 4, 2, 8, 16, 32)
"""Steps of so many tokens are tried, in this order: the first two always, the others while there is time."""
ENOUGH_S = 0.4
"""No other size, and none a second time, is tried after this many seconds."""


def measure_steps(context: Context) -> list[tuple[int, float]]:
    """Return (tokens, seconds) of steps that check a draft: one sequence with a row of logits per token.

    The context is warm, and empty before and after. Other work on the machine only ever adds, so the quicker
    of two counts where there is time for two. Raises DecodeError.
    """
    most = min(context.n_ctx_seq, context.n_batch)
    batch, times = TokenBatch(max(SIZES)), []
    start_s = time.monotonic()
    for number, size in enumerate(size for size in SIZES if size <= most):
        if number >= 2 and time.monotonic() - start_s > ENOUGH_S:
            break
        seconds = _step_s(context, batch, size)
        if time.monotonic() - start_s <= ENOUGH_S:
            seconds = min(seconds, _step_s(context, batch, size))
        times.append((size, seconds))
    return times


def _step_s(context: Context, batch: TokenBatch, n_tokens: int) -> float:
    """Return the seconds of a step of unlike tokens, which keep unlike experts busy."""
    batch.clear()
    for position in range(n_tokens):
        batch.add(position * context.n_vocab // n_tokens, position, 0, True)
    context.clear()
    start_s = time.monotonic()
    context.decode(batch)
    seconds = time.monotonic() - start_s
    context.clear()
    return seconds
