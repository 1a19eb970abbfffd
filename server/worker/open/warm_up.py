"""`warm_up`: computes once in a new context, and measures what its memory can do."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context

WARM_UP_TOKENS = 64
"""The prompt of the warm-up has at most this many tokens."""
WARM_UP_SEQUENCES = 4
"""At most this many sequences generate together in the warm-up."""


@dataclass(frozen=True)
class WarmUpResult:
    """The facts about a context that only computing in it shows."""

    can_trim: bool
    """A slot can be cut back to a prefix of what it holds."""
    can_rewind: bool
    """A slot that can't, or that a window has left too little for it, can go back to a checkpoint."""


def warm_up(context: Context, n_ctx: int) -> WarmUpResult:
    """Compute what a server computes, then forget it: a build that crashes does it here.

    `n_ctx`: tokens that one sequence may have. The context is empty afterwards. Raises DecodeError.
    """
    token = context.model.vocab.bos or 0
    n_sequences = min(WARM_UP_SEQUENCES, context.n_seq_max)
    n_prompt = max(1, min(WARM_UP_TOKENS, n_ctx - 4, context.n_ctx_seq - 4, context.n_batch // n_sequences))
    batch = TokenBatch(max(n_prompt, n_sequences))

    def decode(n_tokens: int, position: int, n_sequences: int) -> None:
        batch.clear()
        for slot in range(n_sequences):
            batch.add_many([token] * n_tokens, position, slot, output_last=True)
        context.decode(batch)

    decode(n_prompt, 0, 1)
    state = _partial_state(context)
    decode(1, n_prompt, 1)
    can_trim = context.seq_rm(0, n_prompt, None)
    can_rewind = state is not None and _goes_back(context, n_prompt, state)
    context.clear()
    for position in range(3):
        decode(1, position, n_sequences)
    context.clear()
    return WarmUpResult(can_trim, can_rewind)


def _partial_state(context: Context) -> memoryview | None:
    """Return what of the first slot's state can't be cut back; None if that is nothing, or isn't copied."""
    model = context.model
    if not (model.n_swa or model.is_recurrent or model.is_hybrid):
        return None
    try:
        return context.state_seq_get(0, partial=True)
    except (LlamaCppError, MemoryError):
        return None


def _goes_back(context: Context, n_tokens: int, state: memoryview) -> bool:
    """Return True if the first slot holds its first tokens again, with the state after them."""
    try:
        context.seq_rewind(0, n_tokens, state)
    except (LlamaCppError, MemoryError):
        return False
    return True
