"""The work of one decode as plain data: first the changes to the KV cache, then the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from server.engine.events import TokenLogprob
from server.engine.images import ImageSpan

Adapters = tuple[tuple[int, float], ...]
"""LoRA adapters are (id, scale) pairs, ids ascending."""


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """The state of a slot after its first `n_tokens`, without what can be cut back; see `Checkpoints`."""

    n_tokens: int
    state: memoryview
    """Only the runner understands these bytes."""
    is_border: bool = False
    """True at the end of a turn."""

    @property
    def n_bytes(self) -> int:
        return self.state.nbytes


class Trim(msgspec.Struct, frozen=True):
    """Keep the first `n_keep` tokens of `slot` and drop the rest; 0 empties it.

    The `checkpoint` is the one after just these tokens, where the slot couldn't go back there without it.
    """

    slot: int
    n_keep: int
    checkpoint: Checkpoint | None = None


class Copy(msgspec.Struct, frozen=True):
    """Make `target` hold the first `n_tokens` of what `source` holds now, and nothing else.

    For the `checkpoint` see `Trim`.
    """

    source: int
    target: int
    n_tokens: int
    checkpoint: Checkpoint | None = None


class Restore(msgspec.Struct, frozen=True):
    """Make `slot` hold the first `n_tokens` of what the prefix store keeps under `key`, and nothing else.

    For the `checkpoint` see `Trim`.
    """

    slot: int
    key: str
    n_tokens: int
    checkpoint: Checkpoint | None = None


class Save(msgspec.Struct, frozen=True):
    """Offer what `slot` holds, `tokens` computed with `adapters`, to the prefix store before it goes.

    Its `checkpoints` are kept with it.
    """

    slot: int
    tokens: list[int]
    adapters: Adapters
    checkpoints: tuple[Checkpoint, ...] = ()


class Relayout(msgspec.Struct, frozen=True):
    """Let all slots share the cells if `unified`, else give each its own; all keep their tokens."""

    unified: bool


class BatchEntry(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one sequence at positions `position`, `position` + 1 … of its slot.

    After each of the last `n_outputs` tokens the next one is sampled: 0 for a part of a prompt, 1 usually,
    1 + d when the last d tokens are a draft. With `ban_eog` tokens that end generation may not be sampled.
    `targets` are the tokens that follow each of `tokens`, to be scored: as many, or one fewer at a prompt's
    end. An entry of an `image` has just its tokens.
    """

    sequence_id: int
    slot: int
    tokens: list[int]
    position: int
    n_outputs: int = 0
    ban_eog: bool = False
    targets: list[int] | None = None
    image: ImageSpan | None = None

    @property
    def has_result(self) -> bool:
        """True if a run returns a result for it; an image's has no tokens, or is the error."""
        return self.n_outputs > 0 or self.targets is not None or self.image is not None

    @property
    def is_chunk(self) -> bool:
        """True for a part of a prompt without a result."""
        if self.image is not None:
            return True
        return not self.n_outputs and self.targets is None and len(self.tokens) > 1


MemoryChange = Trim | Copy | Restore | Save | Relayout


@dataclass(slots=True)
class Batch:
    """One step's work. `entries` are in ascending order of their slots, one per sequence.

    The order matters: with separate KV streams llama.cpp puts only consecutive ids, in ascending order,
    into one pass through the weights.
    """

    memory: list[MemoryChange] = field(default_factory=list)
    entries: list[BatchEntry] = field(default_factory=list)
    adapters: Adapters = ()
    """All entries are computed with these LoRA adapters."""
    pads: Mapping[int, int] = field(default_factory=dict)
    """By slot, the tokens of no meaning that are computed behind what it holds then, and dropped at once:
    they make passes fewer (see `Passes`). Only for a runner that can do so."""
    rows: tuple[int, ...] = ()
    """The rows of each pass of all but chunks, where that was planned."""

    @property
    def n_tokens(self) -> int:
        """The number of tokens of all entries."""
        return sum(len(entry.tokens) for entry in self.entries)

    @property
    def image(self) -> BatchEntry | None:
        """The entry of an image, of which a batch has one at most."""
        return next((entry for entry in self.entries if entry.image is not None), None)

    @property
    def n_rewinds(self) -> int:
        """The number of slots that go back to a checkpoint."""
        return sum(
            isinstance(change, Trim | Copy | Restore) and change.checkpoint is not None
            for change in self.memory
        )

    @property
    def outputs(self) -> list[BatchEntry]:
        """The entries that a run returns a result for."""
        return [entry for entry in self.entries if entry.has_result]


class Output(msgspec.Struct, frozen=True, gc=False):
    """A run's result for one entry: the draft's tokens that were accepted and one more, 1 to `n_outputs`.

    `logprobs` has one per token, only for a sequence that requested them; `scores` has one per target.
    `forced` are the tokens after those, not computed yet: the sequence's guide leaves no others.
    With `ends` the guide allows nothing after them all.
    """

    tokens: list[int]
    logprobs: list[TokenLogprob] | None = None
    scores: list[TokenLogprob] | None = None
    forced: list[int] = []
    ends: bool = False
