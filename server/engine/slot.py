"""A place for a sequence in the KV cache, and the decision to put one there."""

from __future__ import annotations

from dataclasses import dataclass

from server.engine.batch import Adapters, MemoryChange
from server.engine.sequence import Sequence


class Slot:
    """One place for a sequence. It belongs to `owner` while one runs in it, and else keeps what the last
    one left.

    `resident` is what an idle slot holds; a running owner's tokens are read from the owner.
    """

    __slots__ = (
        "adapters",
        "group_id",
        "id",
        "last_used",
        "may_keep",
        "n_at_start",
        "n_in_tree",
        "n_reused",
        "owner",
        "resident",
    )

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.owner: Sequence | None = None
        self.resident: list[int] = []
        self.group_id: str | None = None
        self.adapters: Adapters = ()
        self.last_used = 0
        self.may_keep = False
        """Whether its tokens may be kept on disk: the request that they are of wants the cache."""
        self.n_at_start = 0
        """Tokens that the last owner began with. While it holds no more, they may still be on their way."""
        self.n_in_tree = 0
        """How many of its tokens the radix tree has: what a running owner generates isn't entered at once."""
        self.n_reused = 0
        """How often what it holds has spared another sequence its prefix."""

    @property
    def n_held(self) -> int:
        owner = self.owner  # once: another thread may ask, for statistics
        return len(self.resident) if owner is None else owner.n_computed


@dataclass(frozen=True, slots=True)
class Placement:
    """Put a sequence into `slot`, after `memory`; then the slot holds its first `n_cached` tokens.

    `source`: the slot whose tokens are used. `is_loading`: they are being read from disk; ask again.
    """

    slot: Slot
    n_cached: int
    memory: list[MemoryChange]
    source: Slot | None = None
    is_loading: bool = False
