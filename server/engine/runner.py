"""What the engine needs of a model. The worker has one on llama.cpp; tests have one that is scripted."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from typing import Protocol

from models.errors import CorralError
from server.engine.batch import Batch, Output, Save
from server.engine.sampling_params import SamplingParams


class ModelRunner(Protocol):
    """A loaded model with `n_slots` places for sequences. One thread calls it."""

    @property
    def n_slots(self) -> int: ...

    @property
    def n_ctx(self) -> int:
        """Tokens that one sequence may have."""

    @property
    def n_batch(self) -> int:
        """Tokens that one batch may have."""

    @property
    def n_vocab(self) -> int: ...

    @property
    def can_trim(self) -> bool:
        """Whether a slot can be cut back to a prefix of what it holds. It can always be emptied."""

    @property
    def n_swa(self) -> int:
        """Tokens of the sliding attention window, before which the memory may forget; 0: there is none."""

    def holds(self, slot: int, n_tokens: int) -> bool:
        """Whether `slot`, of which more is known to have been computed, still has all that is needed to go on
        after its first `n_tokens`."""

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Tokens[int],
        n_probs: int | None = None,
    ) -> None:
        """Make the sampler of a sequence, which knows the prompt for its penalties. Raises RequestError.

        `n_probs`: tell the logprobs of its tokens, with so many alternatives.
        """

    def close(self, sequence_id: int) -> None:
        """Free the sampler of a sequence; one that was never opened is fine."""

    def run(self, batch: Batch) -> list[Output | CorralError]:
        """Change the KV cache, decode, sample: one result per entry of `batch.outputs`, in their order.

        An error in a result's place concerns that sequence alone. Raises DecodeError: with status 1 the
        tokens found no place in the KV cache and none was computed (the changes of `batch.memory` are made
        all the same). Raises RestoreError: the changes are made but for slots that are empty instead, and
        nothing was computed.
        """

    def save(self, kept: Save) -> None:
        """Keep what a slot holds in the prefix store, where there is one. Between two runs."""

    def is_eog(self, token: int) -> bool:
        """Whether the token ends generation."""

    def piece(self, token: int) -> bytes:
        """The token's text; empty for a control token."""

    def shown(self, token: int) -> bytes:
        """The token's text; a control token's name."""
