"""`PooledRequest`: texts, already tokens, and the form of the vectors or scores that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledRequest:
    """A request for a vector of each text, or for scores. No text is empty or longer than the context."""

    id: str
    texts: Sequence[Sequence[int]]
    """A classifier's pair of texts is one text here."""
    n_first: Sequence[int] = ()
    """The tokens of each pair's first text, what stands between the two included; empty: no pairs."""
    pairs: tuple[tuple[int, int], ...] = ()
    """The places of the texts whose vectors are compared; empty: the vectors themselves are wanted."""
    wants_rows: bool = False
    dimensions: int | None = None
    norm: int = 2
    priority: int = 0
    owner: str = ""
    """Whoever the request is for: owners get equal shares within a priority."""
    timeout_s: float | None = None

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.texts))
