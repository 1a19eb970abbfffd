"""Prompt lookup: a sequence that repeats a part of itself will probably go on as it did there.

Source of the idea: A. Saxena, "Prompt Lookup Decoding" (2023).
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens

from server.engine.sequence import Sequence

SIZES = (6, 3)
"""Lengths of the last tokens that are looked for, the longer first: it guesses better."""


class NgramProposer:
    """Proposes what followed the last occurrence of a sequence's last tokens. Each token is indexed once."""

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        self._sizes = sizes
        self._indexes: dict[int, NgramIndex] = {}

    @property
    def guess_s(self) -> float:
        return 0.0

    def propose(self, wanted: Tokens[tuple[Sequence, int]]) -> list[list[int]]:
        guesses = []
        for sequence, n in wanted:
            index = self._indexes.get(sequence.id)
            if index is None:
                index = self._indexes[sequence.id] = NgramIndex(self._sizes)
            guesses.append(index.continuation(sequence.tokens, n))
        return guesses

    def close(self, sequence: Sequence) -> None:
        self._indexes.pop(sequence.id, None)


class NgramIndex:
    """Where in one growing list of tokens each run of `size` tokens ended last."""

    __slots__ = ("_ends", "_n_indexed", "_sizes")

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        self._sizes = sizes
        self._ends: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in sizes)
        self._n_indexed = 0

    def continuation(self, tokens: list[int], n: int) -> list[int]:
        """Up to `n` tokens that followed the last earlier occurrence of the end of `tokens`.

        An occurrence that reaches into the end goes on with what it has guessed: a cycle is guessed as such.
        """
        self._grow(tokens)
        for size, ends in zip(self._sizes, self._ends, strict=True):
            at = ends.get(tuple(tokens[-size:]))
            if at is not None:
                guess = tokens[at : at + n]
                period = len(tokens) - at
                while len(guess) < n:
                    guess.append(guess[len(guess) - period])
                return guess
        return []

    def _grow(self, tokens: list[int]) -> None:
        """Index every run that ends before the last token."""
        for end in range(self._n_indexed + 1, len(tokens)):
            for size, ends in zip(self._sizes, self._ends, strict=True):
                if end >= size:
                    ends[tuple(tokens[end - size : end])] = end
        self._n_indexed = max(self._n_indexed, len(tokens) - 1)
