"""What one decode is to do, as plain data: first the changes to the KV cache, then the tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec


class Trim(msgspec.Struct, frozen=True):
    """Keep the first `n_keep` tokens of `slot` and drop the rest; 0 empties it."""

    slot: int
    n_keep: int


class Copy(msgspec.Struct, frozen=True):
    """Make `target` hold the first `n_tokens` of what `source` holds now, and nothing else."""

    source: int
    target: int
    n_tokens: int


class BatchEntry(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one sequence at positions `position`, `position` + 1 … of its slot.

    `wants_output`: the next token is to be sampled after the last of them. `ban_eog`: it may not be one
    that ends generation.
    """

    sequence_id: int
    slot: int
    tokens: list[int]
    position: int
    wants_output: bool
    ban_eog: bool = False


@dataclass(slots=True)
class Batch:
    """One step. `entries` are in ascending order of their slots, one per sequence.

    The order matters: with separate KV streams llama.cpp puts only consecutive ids, in ascending order,
    into one pass through the weights.
    """

    memory: list[Trim | Copy] = field(default_factory=list)
    entries: list[BatchEntry] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        return sum(len(entry.tokens) for entry in self.entries)

    @property
    def outputs(self) -> list[BatchEntry]:
        return [entry for entry in self.entries if entry.wants_output]
