"""`ModelRunner`: the protocol of a model under the engine; llama.cpp in the worker, a script in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.errors import CorralError
from server.engine.batch import Batch, Output, Save
from server.engine.sampling_params import SamplingParams


class ModelRunner(Protocol):
    """A loaded model with `n_slots` places for sequences. One thread calls it."""

    @property
    def n_slots(self) -> int:
        """The number of sequences that the KV cache has a place for."""

    @property
    def n_ctx(self) -> int:
        """The number of tokens that one sequence may have."""

    @property
    def n_stream(self) -> int:
        """The number of tokens that each slot has room for before the first `Relayout`."""

    @property
    def n_batch(self) -> int:
        """The number of tokens that one batch may have."""

    @property
    def n_vocab(self) -> int:
        """The number of tokens in the vocabulary; ids are below it."""

    @property
    def can_trim(self) -> bool:
        """True if a slot can be cut back to a prefix of what it holds. It can always be emptied."""

    @property
    def can_rewind(self) -> bool:
        """True if a slot that can't be trimmed can go back to a `Checkpoint`, and makes them."""

    @property
    def can_pad(self) -> bool:
        """True if it computes `Batch.pads`, chunks of prompts apart, and needs a pass for what lies apart.

        It does so until slots share the KV cells.
        """

    @property
    def n_swa(self) -> int:
        """The sliding attention window in tokens, before which the memory may forget; 0: there is none."""

    @property
    def forgets(self) -> bool:
        """True if what lies before the window is soon lost, and not only when a slot's state is copied."""

    def holds(self, slot: int, n_tokens: int) -> bool:
        """Return True if `slot` still has all that is needed to continue after its first `n_tokens`.

        More than `n_tokens` have been computed in it.
        """

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Sequence[int],
        n_probs: int | None = None,
        guide: object | None = None,
        *,
        after_sampling: bool = False,
    ) -> None:
        """Make the sampler of a sequence, which knows the prompt for its penalties. Raises RequestError.

        With `n_probs` outputs have the logprobs of its tokens, each with so many alternatives; those with
        which they are drawn, if `after_sampling`, else the model's own. `guide`, which
        only the runner understands, says which tokens the sequence may have; it may force some, see `Output`.
        """

    def force(self, sequence_id: int, tokens: Sequence[int]) -> None:
        """Make `tokens` the sequence's next ones, whatever the model would choose; outputs will have them."""

    def replay(self, sequence_id: int, token: int) -> None:
        """Take `token` as the next of a sequence that has computed nothing: an earlier runner had chosen it.

        The sampler is then as if it had chosen it itself. Raises RequestError if it couldn't have.
        """

    def close(self, sequence_id: int) -> None:
        """Free the sampler of a sequence; one that was never opened is fine."""

    def run(self, batch: Batch) -> list[Output | CorralError]:
        """Change the KV cache, decode, sample: one result per entry of `batch.outputs`, in their order.

        An error in a result's place concerns that sequence alone. Raises DecodeError: with status 1 the
        tokens found no place in the KV cache and none was computed (the changes of `batch.memory` are made
        all the same). Raises RestoreError: the changes are made but for slots that are empty instead, and
        nothing was computed. A `Relayout` comes only if `n_stream` is less than `n_ctx`.
        """

    def save(self, kept: Save) -> None:
        """Keep what a slot holds in the prefix store, if there is one. Called between two runs."""

    def checkpoint(self, slot: int) -> memoryview | None:
        """Return a copy of a slot's state, without what can be cut back; None where there is no memory.

        Called between two runs, right after one that computed tokens of the slot. Only with `can_rewind`.
        """

    def is_eog(self, token: int) -> bool:
        """Return True if the token ends generation."""

    def piece(self, token: int) -> bytes:
        """Return the token's bytes; none for a control token."""

    def spelling(self, token: int) -> bytes:
        """Return the token's bytes; for a control token its name."""
