"""`Acceptance`: how often a sequence's guesses have been right, and what that lets expect of a draft."""

from __future__ import annotations

_OTHERS_WEIGHT = 8.0
"""The other sequences' share of hits counts as so many guesses of a new sequence's own."""
_DECAY = 0.94
"""The counts of hits and misses are multiplied by this at each new guess: about the last 16 matter, so that a
text that begins to repeat itself gets drafts some ten tokens later, and one that ends to loses them."""
_FIRST_MISS = 3
"""A guess that is wrong from its first token on counts as so many wrong ones: after an edit a copy goes on,
but where guesses begin wrongly the text has ended to repeat itself, or did by chance."""


class Share:
    """The moving share of hits among guesses; it begins with what `others` is, and that fades."""

    __slots__ = ("_hits", "_misses")

    def __init__(self, others: Share | None = None) -> None:
        expected, weight = (0.5, 2.0) if others is None else (others.value, _OTHERS_WEIGHT)
        self._hits, self._misses = weight * expected, weight * (1.0 - expected)

    @property
    def value(self) -> float:
        """The probability, 0 to 1, that the next guess is right."""
        return self._hits / (self._hits + self._misses)

    def count(self, n_hits: int, n_misses: int) -> None:
        """Count right guesses, then wrong ones."""
        for _ in range(n_hits):
            self._hits, self._misses = self._hits * _DECAY + 1.0, self._misses * _DECAY
        for _ in range(n_misses):
            self._hits, self._misses = self._hits * _DECAY, self._misses * _DECAY + 1.0


class Acceptance:
    """The moving share of right guesses for one sequence.

    Every guess is judged by the tokens that come, whether it was computed as a draft or not. The share of
    `others` counts as a few judgements from the start, and fades with them. The first guess right after a
    wrong one has a share of its own: a copy goes on there if a token was replaced, and doesn't if it ended.
    """

    __slots__ = ("_guess", "_is_after_miss", "_n_seen", "_others", "_was_right", "after_misses", "copies")

    def __init__(self, others: Acceptance | None = None) -> None:
        self.copies: Share = Share(None if others is None else others.copies)
        self.after_misses: Share = Share(None if others is None else others.after_misses)
        self._others = others
        self._guess: list[int] = []
        self._is_after_miss = False
        """The next guess comes right after a wrong one, and that came after a right one."""
        self._was_right = False
        """The last token that was guessed was guessed rightly."""
        self._n_seen = 0

    @property
    def share(self) -> float:
        """The probability, 0 to 1, that the next guess is right where the one before it was."""
        return self.copies.value

    @property
    def first_share(self) -> float:
        """The probability, 0 to 1, that the first token of the next guess is right."""
        return (self.after_misses if self._is_after_miss else self.copies).value

    def count(self, n_hits: int, *, missed: bool) -> None:
        """Count `n_hits` right guesses and, if `missed`, a wrong one after them."""
        self._count(n_hits, missed * (1 if n_hits else _FIRST_MISS))

    def remember(self, guess: list[int], n_tokens: int) -> None:
        """Remember a guess for the tokens after the first `n_tokens`, until all of it is judged."""
        if not self._guess:
            self._guess, self._n_seen = guess, n_tokens

    def judge(self, tokens: list[int]) -> None:
        """Compare the remembered guess with the tokens that have come."""
        came = tokens[self._n_seen : self._n_seen + len(self._guess)]
        n_right = 0
        for guess, token in zip(self._guess, came, strict=False):
            if guess != token:
                break
            n_right += 1
        missed = n_right < len(came)
        n_misses = missed * (1 if n_right or self._was_right else _FIRST_MISS)
        if self._is_after_miss and came:
            self._count_after_miss(n_right > 0)
            self._count(max(0, n_right - 1), n_misses if n_right else 0)
        else:
            self._count(n_right, n_misses)
        self._n_seen += n_right
        self._guess = [] if missed else self._guess[n_right:]
        was_right = self._was_right or n_right > 0
        self._is_after_miss = missed and was_right and self._n_seen + 1 == len(tokens)
        self._was_right = was_right and not missed

    def _count(self, n_hits: int, n_misses: int) -> None:
        self.copies.count(n_hits, n_misses)
        if self._others is not None:
            self._others.copies.count(n_hits, n_misses)

    def _count_after_miss(self, is_right: bool) -> None:
        self.after_misses.count(int(is_right), int(not is_right))
        if self._others is not None:
            self._others.after_misses.count(int(is_right), int(not is_right))


def expected_hits(share: float, n_guesses: int, first_share: float | None = None) -> float:
    """Return how many guesses are right in the mean: share + share² + …, as the first miss ends them.

    The first is right with probability `first_share`; None: as the others.
    """
    first = share if first_share is None else first_share
    return first * (float(n_guesses) if share == 1.0 else (1.0 - share**n_guesses) / (1.0 - share))
