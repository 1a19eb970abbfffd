"""What one decode is to do, as plain data: first the changes to the KV cache, then the tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from server.engine.events import TokenLogprob

Adapters = tuple[tuple[int, float], ...]


class Trim(msgspec.Struct, frozen=True):
    """Keep the first `n_keep` tokens of `slot` and drop the rest; 0 empties it."""

    slot: int
    n_keep: int


class Copy(msgspec.Struct, frozen=True):
    """Make `target` hold the first `n_tokens` of what `source` holds now, and nothing else."""

    source: int
    target: int
    n_tokens: int


class Restore(msgspec.Struct, frozen=True):
    """Make `slot` hold the first `n_tokens` of what the prefix store keeps under `key`, and nothing else."""

    slot: int
    key: str
    n_tokens: int


class Save(msgspec.Struct, frozen=True):
    """Offer what `slot` holds, `tokens` computed with `adapters`, to the prefix store: it is about to go."""

    slot: int
    tokens: list[int]
    adapters: Adapters


class BatchEntry(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one sequence at positions `position`, `position` + 1 … of its slot.

    `n_outputs`: after how many of the last tokens the next one is to be sampled: 0 for a part of a prompt,
    1 usually, 1 + d when the last d tokens are a draft. `ban_eog`: tokens that end generation may not be
    sampled. `targets`: the tokens that follow each of `tokens`, to be scored: as many, or one fewer at a
    prompt's end.
    """

    sequence_id: int
    slot: int
    tokens: list[int]
    position: int
    n_outputs: int = 0
    ban_eog: bool = False
    targets: list[int] | None = None


MemoryChange = Trim | Copy | Restore | Save


@dataclass(slots=True)
class Batch:
    """One step. `entries` are in ascending order of their slots, one per sequence.

    The order matters: with separate KV streams llama.cpp puts only consecutive ids, in ascending order,
    into one pass through the weights.
    """

    memory: list[MemoryChange] = field(default_factory=list)
    entries: list[BatchEntry] = field(default_factory=list)
    adapters: Adapters = ()
    """The LoRA adapters of all its entries: (id, scale)."""

    @property
    def n_tokens(self) -> int:
        return sum(len(entry.tokens) for entry in self.entries)

    @property
    def outputs(self) -> list[BatchEntry]:
        """The entries that a run has a result for."""
        return [entry for entry in self.entries if entry.n_outputs or entry.targets is not None]


class Output(msgspec.Struct, frozen=True, gc=False):
    """What a run gave one entry: the draft's tokens that were accepted and one more, 1 to `n_outputs`.

    `logprobs`: one per token, only for a sequence that asked for them. `scores`: one per target.
    """

    tokens: list[int]
    logprobs: list[TokenLogprob] | None = None
    scores: list[TokenLogprob] | None = None
