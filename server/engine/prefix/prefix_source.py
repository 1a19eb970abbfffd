"""`PrefixSource`: the protocol of prefixes kept outside the KV cache; the worker's are on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from server.engine.batch import Adapters, Checkpoint


@dataclass(frozen=True, slots=True)
class StoredPrefix:
    """A kept prefix that begins as a prompt does: its first `n_tokens` can be restored.

    If `ready`, it has been read and checked, and `Restore` finds it in memory. Otherwise it is still being
    read; call `longest` again. Its `checkpoints`, there once it is `ready`, are among its tokens.
    """

    key: str
    n_tokens: int
    ready: bool
    checkpoints: tuple[Checkpoint, ...] = ()


class PrefixSource(Protocol):
    """The prefixes of one model and its context settings.

    The engine's thread calls it; only `wait` blocks.
    """

    def longest(self, tokens: list[int], adapters: Adapters, least: int) -> StoredPrefix | None:
        """Return the kept prefix that gives most of `tokens`, but at least `least`; begin to read it."""

    def wants(self, tokens: list[int], adapters: Adapters, *, beside_others: bool) -> bool:
        """Return True if these tokens are worth keeping now. `beside_others`: other sequences are served."""

    def wait(self) -> None:
        """Return when something that is being read has become ready, or after a moment."""
