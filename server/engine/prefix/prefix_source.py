"""What the prefix cache needs of prefixes that are kept outside the KV cache. The worker's are on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from server.engine.batch import Adapters


@dataclass(frozen=True, slots=True)
class StoredPrefix:
    """A kept prefix that begins as a prompt does: its first `n_tokens` can be restored.

    `ready`: it has been read and checked, and `Restore` finds it in memory. Otherwise that goes on beside,
    and it should be asked for again.
    """

    key: str
    n_tokens: int
    ready: bool


class PrefixSource(Protocol):
    """Prefixes of this model and these context settings. The engine's thread calls it; nothing here waits but
    `wait`."""

    def longest(self, tokens: list[int], adapters: Adapters, least: int) -> StoredPrefix | None:
        """The kept prefix that gives most of `tokens`, but at least `least`; begins to read it."""

    def wants(self, tokens: list[int], adapters: Adapters, *, beside_others: bool) -> bool:
        """Whether it is worth keeping these tokens, now. `beside_others`: sequences are being served."""

    def wait(self) -> None:
        """Return when something that is being read has become ready, or after a moment."""
