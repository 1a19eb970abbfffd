"""`Slot`, a sequence's place in the KV cache, and `Placement`, the decision to put one there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.engine.batch import Adapters, Checkpoint, MemoryChange
from server.engine.sequence import Sequence


class Slot:
    """One place for a sequence: it belongs to `owner` while one runs, else it keeps the last one's tokens.

    `resident` is what an idle slot holds; a running owner's tokens are read from the owner.
    """

    __slots__ = (
        "adapters",
        "group_id",
        "has_images",
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
        """True if its tokens may be kept on disk: the request that they came with wants the cache."""
        self.has_images = False
        """True if images are among its tokens, or may be: then they are kept nowhere else."""
        self.n_at_start = 0
        """The number of tokens that the last owner began with. While the slot holds no more, they may still
        be on their way."""
        self.n_in_tree = 0
        """The number of its tokens in the radix tree: those that a running owner generates come later."""
        self.n_reused = 0
        """The number of sequences that found their prefix in what it holds."""

    @property
    def n_held(self) -> int:
        """The number of tokens in the slot."""
        owner = self.owner  # once: another thread may ask, for statistics
        return len(self.resident) if owner is None else owner.n_computed


@dataclass(frozen=True, slots=True)
class Placement:
    """A decision to put a sequence into `slot`, which holds its first `n_cached` tokens after `memory`.

    `source` is the slot whose tokens are used, and `checkpoints` are the places where the slot can go back
    to. With `is_loading` the tokens are still being read.
    """

    slot: Slot
    n_cached: int
    memory: list[MemoryChange]
    source: Slot | None = None
    is_loading: bool = False
    checkpoints: Iterable[Checkpoint] = ()
