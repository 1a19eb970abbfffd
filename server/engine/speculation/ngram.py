"""Prompt lookup: a sequence that repeats a part of itself will probably continue as it did there.

The idea is from A. Saxena, "Prompt Lookup Decoding" (2023).
"""

from __future__ import annotations

from server.engine.sequence import Sequence

SIZES = (6, 3)
"""So many last tokens are searched for, the longer run first: it guesses better."""
INDEXED_PER_STEP = 1024
"""So many tokens of a sequence are indexed at a time, which takes a millisecond or two: a long prompt that
the cache had holds nobody up. Until all are, those at its beginning are searched."""
_RECENT = 6
"""A copy with replaced tokens is recognised by half of its last so many tokens."""


class NgramProposer:
    """Proposes what followed the last occurrence of a sequence's last tokens. Each token is indexed once."""

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        self._sizes = sizes
        self._indexes: dict[int, NgramIndex] = {}

    @property
    def guess_s(self) -> float:
        """A guess costs next to nothing."""
        return 0.0

    @property
    def start_s(self) -> float:
        """And nothing comes beside."""
        return 0.0

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        """Return for each (sequence, n) up to n tokens that followed an earlier occurrence of its end."""
        guesses = []
        for sequence, n in wanted:
            index = self._indexes.get(sequence.id)
            if index is None:
                index = self._indexes[sequence.id] = NgramIndex(self._sizes)
            guesses.append(index.continuation(sequence.tokens, n))
        return guesses

    def rest(self, n_steps: int) -> None:
        """Keep the indexes: guesses that cost nothing are always wanted."""

    def close(self, sequence: Sequence) -> None:
        """Drop the index of a sequence that has ended."""
        self._indexes.pop(sequence.id, None)


class NgramIndex:
    """The last end of each run of `size` tokens in one growing list of tokens, for each of `sizes`."""

    __slots__ = ("_distance", "_ends", "_n_indexed", "_sizes")

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        self._sizes = sizes
        self._ends: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in sizes)
        self._n_indexed = 0
        self._distance: int | None = None

    def continuation(self, tokens: list[int], n: int) -> list[int]:
        """Return up to `n` tokens that followed the last earlier occurrence of the end of `tokens`.

        An occurrence that reaches into the end continues with its own guess: a cycle is guessed as such.
        """
        self._grow(tokens)
        distance = self._find(tokens)
        if distance is None:
            return []
        self._distance = distance
        at = len(tokens) - distance
        guess = tokens[at : at + n]
        while len(guess) < n:
            guess.append(guess[len(guess) - distance])
        return guess

    def _find(self, tokens: list[int]) -> int | None:
        """Return how many tokens back the end of `tokens` stood before; None if it didn't.

        A copy in which a few tokens are replaced continues at the same distance after them, before so many
        tokens are alike again as a new occurrence needs.
        """
        for size, ends in zip(self._sizes, self._ends, strict=True):
            at = ends.get(tuple(tokens[-size:]))
            if at is not None:
                return len(tokens) - at
            if self._distance is not None and continues_copy(tokens, self._distance):
                return self._distance
        return None

    def _grow(self, tokens: list[int]) -> None:
        """Index the next runs that end before the last token."""
        until = min(len(tokens), self._n_indexed + 1 + INDEXED_PER_STEP)
        for end in range(self._n_indexed + 1, until):
            for size, ends in zip(self._sizes, self._ends, strict=True):
                if end >= size:
                    ends[tuple(tokens[end - size : end])] = end
        self._n_indexed = max(self._n_indexed, until - 1)


def continues_copy(tokens: list[int], distance: int) -> bool:
    """Return True if half of the last few tokens, one of the last two among them, stood `distance` before.

    So one token in the place of another doesn't end a copy. Where more were replaced, or some put in or left
    out, it goes on as a new occurrence.
    """
    if len(tokens) - distance < 2 or (
        tokens[-1] != tokens[-1 - distance] and tokens[-2] != tokens[-2 - distance]
    ):
        return False
    n_like = sum(
        tokens[-i] == tokens[-i - distance] for i in range(1, _RECENT + 1) if i + distance <= len(tokens)
    )
    return 2 * n_like >= _RECENT
