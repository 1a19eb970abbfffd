"""`warm_up`: computes once in a new context, and measures what its memory can do."""

from __future__ import annotations

from dataclasses import dataclass

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
    decode(1, n_prompt, 1)
    can_trim = context.seq_rm(0, n_prompt, None)
    context.clear()
    for position in range(3):
        decode(1, position, n_sequences)
    context.clear()
    return WarmUpResult(can_trim)
