"""`PrefixIndex`: finds among the kept prefixes the one that gives most of a prompt.

Each set of LoRA adapters has a tree of its own: with others, the same tokens have another state. Not
synchronised; `PrefixStore` calls it under its lock.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from server.engine.prefix.radix_tree import RadixTree
from server.worker.prefix.file import PrefixHead


@dataclass(slots=True)
class Entry:
    """A kept prefix: its file is there, or being written (`is_written` False)."""

    head: PrefixHead
    is_written: bool


class PrefixIndex:
    """Entries by their keys. `n_swa`, `can_trim`: what the model's memory forgets, and can forget."""

    def __init__(self, *, can_trim: bool, n_swa: int) -> None:
        self._can_trim = can_trim
        self._n_swa = n_swa
        self._entries: dict[str, Entry] = {}
        self._trees: dict[bytes, RadixTree[str]] = {}
        """Trees by the key of the adapters; none is empty."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def add(self, key: str, entry: Entry) -> None:
        """Add an entry under a key that has none."""
        self._entries[key] = entry
        self._trees.setdefault(entry.head.adapters, RadixTree()).insert(key, entry.head.tokens)

    def remove(self, key: str) -> None:
        """Forget an entry; a key that has none is fine."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            tree = self._trees[entry.head.adapters]
            tree.remove(key)
            if not len(tree):
                del self._trees[entry.head.adapters]

    def longest(
        self,
        tokens: list[int],
        limit: int,
        adapters: bytes,
        *,
        preferred: Container[str] = (),
        written_only: bool = True,
    ) -> tuple[str, int] | None:
        """Return (key, usable tokens) of the entry that gives most of the first `limit` tokens.

        Among equals a `preferred` one wins, then the one with the smallest state.
        """
        best: tuple[int, bool, int] = (0, False, 0)
        best_key: str | None = None
        for depth, keys in self._matches(tokens, limit, adapters):
            if depth < best[0]:
                break
            for key in keys:
                entry = self._entries[key]
                if entry.is_written or not written_only:
                    n_tokens = self._usable(entry.head, depth)
                    rank = (n_tokens, key in preferred, -entry.head.n_state_bytes)
                    if n_tokens and (best_key is None or rank > best):
                        best, best_key = rank, key
        return None if best_key is None else (best_key, best[0])

    def surpassed_by(self, key: str) -> list[str]:
        """Return the written entries that this one makes needless: beginnings of the same tokens."""
        if not self._can_trim or self._n_swa:
            return []
        head = self._entries[key].head
        return [
            other
            for depth, others in self._matches(head.tokens, len(head.tokens), head.adapters)
            for other in others
            if other != key
            and depth == len(self._entries[other].head.tokens)
            and self._entries[other].is_written
        ]

    def _matches(self, tokens: list[int], limit: int, adapters: bytes) -> Iterable[tuple[int, set[str]]]:
        tree = self._trees.get(adapters)
        return () if tree is None else tree.matches(tokens, limit)

    def _usable(self, head: PrefixHead, n_shared: int) -> int:
        """Return the number of shared tokens after which the state can go on; 0 if there are none."""
        if n_shared == len(head.tokens):
            return n_shared
        needed_from = max(0, n_shared - self._n_swa + 1) if self._n_swa else 0
        if self._can_trim and head.first <= needed_from:
            return n_shared
        return max((mark.n_tokens for mark in head.marks if mark.n_tokens <= n_shared), default=0)
