"""Speculative decoding: drafts are guessed, checked in one step, kept where the model agrees.

The output is what it would have been without; only the number of steps changes. A draft has the length that
brings most tokens per second, from how often this sequence's latest guesses were right and what steps of each
size cost here: 0 where no draft pays. All of a guess is compared with what comes, also what wasn't computed,
so a sequence that begins to repeat itself is noticed.
"""

from __future__ import annotations

from typing import Protocol

from server.engine.sequence import Sequence
from server.engine.speculation.step_cost import StepCost

LENGTHS = (1, 2, 3, 5, 7, 11, 15, 23, 31)
"""A draft has one of these lengths: few enough that the cost of each is soon known. With the last token that
is 2 to 32 tokens: kernels work in blocks of 4, 8 or 16 rows."""
DRAFT_MAX = LENGTHS[-1]
"""A draft has at most so many tokens."""
WORTH = 1.03
"""A draft promises at least so many times the tokens per second of none: less is within what steps of one
size differ by, and would cost sampling for nothing."""
PAUSE_STEPS = 32
"""No drafts are made for so many steps after the KV cache had no room."""
_RETRY_TOKENS = 64
"""A sequence for which guesses don't pay gets some all the same each time it has so many more tokens."""
_RETRY_GUESSES = 4
"""Such a sequence gets at most so many guesses."""
_OTHERS_WEIGHT = 8.0
"""The other sequences' share of hits counts as so many guesses of a new sequence's own."""
_DECAY = 0.94
"""The counts of hits and misses are multiplied by this at each new guess: about the last 16 matter, so that a
text that begins to repeat itself gets drafts some ten tokens later, and one that ends to loses them."""


_FIRST_MISS = 3
"""A guess that is wrong from its first token on counts as so many wrong ones: after an edit a copy goes on,
but where guesses begin wrongly the text has ended to repeat itself, or did by chance."""


class Proposer(Protocol):
    """A guesser of how sequences continue."""

    @property
    def guess_s(self) -> float:
        """The seconds that one more guess of all sequences costs; 0 where it costs next to nothing."""

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        """Return for each (sequence, n) at most n tokens that may follow its last one; [] for no guess."""

    def close(self, sequence: Sequence) -> None:
        """Free what belongs to a sequence that has ended, or goes on without some of its tokens."""


class Acceptance:
    """The moving share of right guesses for one sequence.

    Every guess is judged by the tokens that come, whether it was computed as a draft or not. The share of
    `others` counts as a few judgements from the start, and fades with them.
    """

    __slots__ = ("_guess", "_hits", "_misses", "_n_seen", "_others")

    def __init__(self, others: Acceptance | None = None) -> None:
        expected, weight = (0.5, 2.0) if others is None else (others.share, _OTHERS_WEIGHT)
        self._hits, self._misses = weight * expected, weight * (1.0 - expected)
        self._others = others
        self._guess: list[int] = []
        self._n_seen = 0

    @property
    def share(self) -> float:
        """The probability, 0 to 1, that the next guess is right."""
        return self._hits / (self._hits + self._misses)

    def count(self, n_hits: int, *, missed: bool) -> None:
        """Count `n_hits` right guesses and, if `missed`, a wrong one after them."""
        if self._others is not None:
            self._others.count(n_hits, missed=missed)
        for _ in range(n_hits):
            self._hits, self._misses = self._hits * _DECAY + 1.0, self._misses * _DECAY
        for _ in range(missed * (1 if n_hits else _FIRST_MISS)):
            self._hits, self._misses = self._hits * _DECAY, self._misses * _DECAY + 1.0

    def remember(self, guess: list[int], n_tokens: int) -> None:
        """Remember a guess for the tokens after the first `n_tokens`, until all of it is judged."""
        if not self._guess:
            self._guess, self._n_seen = guess, n_tokens

    def judge(self, tokens: list[int]) -> None:
        """Compare the remembered guess with the tokens that have come."""
        came = tokens[self._n_seen : self._n_seen + len(self._guess)]
        for n_right, (guess, token) in enumerate(zip(self._guess, came, strict=False)):
            if guess != token:
                self.count(n_right, missed=True)
                self._guess = []
                return
        self.count(len(came), missed=False)
        self._n_seen += len(came)
        self._guess = self._guess[len(came) :]


class Speculation:
    """The policy that gives running sequences their drafts, with one proposer; pure."""

    def __init__(
        self, proposer: Proposer, *, draft_max: int = DRAFT_MAX, n_streams_max: int | None = None
    ) -> None:
        """`n_streams_max`: no drafts while more sequences generate; None: however many do."""
        self._proposer = proposer
        self._draft_max = draft_max
        self._n_streams_max = n_streams_max
        self._overall = Acceptance()
        self._acceptance: dict[int, Acceptance] = {}
        self._n_paused = 0

    def draft(self, running: list[Sequence], step_cost: StepCost, n_batch: int) -> None:
        """Set `draft` of each sequence that generates; half of a batch of `n_batch` tokens stays free."""
        if self._n_paused:
            self._n_paused -= 1
            return
        generating = [s for s in running if s.n_pending == 1 and s.n_generated > 0 and not s.scores_prompt]
        if self._n_streams_max is not None and len(generating) > self._n_streams_max:
            for sequence in generating:
                sequence.draft = []
            return
        wanted = [(s, n) for s in generating if (n := self._draft_limit(s)) > 0]
        if not wanted:
            return
        guess_s = self._proposer.guess_s
        if guess_s > 0:
            wanted = self._where_it_pays(wanted, len(generating), step_cost, guess_s)
        n_tokens, n_brought = len(generating), float(len(generating))
        for (sequence, _), guess in zip(wanted, self._proposer.propose(wanted), strict=True):
            acceptance = self.acceptance_of(sequence)
            acceptance.judge(sequence.tokens)
            n, share = len(guess), acceptance.share
            if guess_s <= 0:
                n = best_length(share, n, n_tokens, step_cost, n_brought=n_brought)
            n = min(n, max(0, n_batch // 2 - n_tokens))
            sequence.draft = guess[:n]
            n_tokens += n
            n_brought += expected_hits(share, n)
            acceptance.remember(guess, len(sequence.tokens))

    def _where_it_pays(
        self, wanted: list[tuple[Sequence, int]], n_tokens: int, step_cost: StepCost, guess_s: float
    ) -> list[tuple[Sequence, int]]:
        """Return the sequences for which guesses pay, and how many; now and then one for which none does."""
        paying: list[tuple[Sequence, int]] = []
        n_brought = float(n_tokens)
        for sequence, most in wanted:
            share = self.acceptance_of(sequence).share
            n = best_length(share, most, n_tokens, step_cost, guess_s, n_brought=n_brought)
            if not n and sequence.n_generated % _RETRY_TOKENS == 0:
                n = min(most, _RETRY_GUESSES)
            if n:
                paying.append((sequence, n))
                n_tokens += n
                n_brought += expected_hits(share, n)
        return paying

    def acceptance_of(self, sequence: Sequence) -> Acceptance:
        """Return how often guesses for a sequence were right; a new one begins with the others' share."""
        return self._acceptance.setdefault(sequence.id, Acceptance(self._overall))

    def withdraw(self, running: list[Sequence]) -> bool:
        """Drop all drafts and pause: the KV cache has no room for guesses. Return True if there were any."""
        self._n_paused = PAUSE_STEPS
        with_draft = [sequence for sequence in running if sequence.draft]
        for sequence in with_draft:
            sequence.draft = []
        return bool(with_draft)

    def close(self, sequence: Sequence) -> None:
        """Free what belongs to a sequence that has ended, or goes on without some of its tokens."""
        self._acceptance.pop(sequence.id, None)
        self._proposer.close(sequence)

    def _draft_limit(self, sequence: Sequence) -> int:
        """Return how long its draft may be: the token after the last guess must be wanted, under one rule."""
        most = min(self._draft_max, sequence.n_tokens_max - len(sequence.tokens) - 1)
        if sequence.progress is not None and (n_left := sequence.progress.n_left) is not None:
            most = min(most, n_left - 1)  # the thoughts' end may be forced then
        params = sequence.group.request.params
        if sequence.must_go_on and not params.ignore_eos:
            most = min(most, params.min_tokens - sequence.n_generated - 1)
        return most


def expected_hits(share: float, n_guesses: int) -> float:
    """Return how many guesses are right in the mean: share + share² + …, as the first miss ends them."""
    return sum(share**n for n in range(1, n_guesses + 1))


def best_length(
    share: float,
    n_guessed: int,
    n_others: int,
    step_cost: StepCost,
    guess_s: float = 0.0,
    *,
    n_brought: float | None = None,
) -> int:
    """Return the draft length, 0 or one of `LENGTHS`, with most expected tokens per second.

    It is 0 unless another brings `WORTH` times as many. A guess takes `guess_s`. The step has `n_others`
    tokens without this draft, which bring `n_brought`; None: one each. A guess is right with probability
    `share`, as long as those before it are.
    """
    best, best_rate = 0, 0.0
    brought = float(n_others) if n_brought is None else n_brought
    for n in (0, *LENGTHS):
        if n > n_guessed:
            break
        seconds = step_cost.estimate(n_others + n)
        if seconds is None:
            return n_guessed
        seconds += n * guess_s
        rate = (brought + expected_hits(share, n)) / seconds if seconds > 0 else 0.0
        if rate > best_rate * (1.0 if best else WORTH):
            best, best_rate = n, rate
    return best
