"""Speculation: guesses of the next tokens are computed with the last one in one step, and kept where the
model says the same. The output is what it would have been; only the number of steps changes.

How long a draft is, is the number of tokens that brings most tokens per second: from how often this
sequence's guesses were right, and what steps of each size cost here. None at all where that is best. All of a
guess is compared with what comes, also what wasn't computed: so a sequence that begins to repeat itself is
noticed.
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from typing import Protocol

from server.engine.sequence import Sequence
from server.engine.speculation.step_cost import StepTimes

LENGTHS = (1, 2, 3, 5, 7, 11, 15, 23, 31)
"""Of drafts: few enough that what each costs is soon known. With the last token 2 to 32: kernels work in
blocks of 4, 8 or 16 rows."""
DRAFT_MAX = LENGTHS[-1]
PAUSE_STEPS = 32
"""Steps without drafts after the KV cache had no room."""
_ASK_AGAIN_TOKENS = 64
_ASK_AGAIN_GUESSES = 4
_OTHERS_WEIGHT = 8.0
"""Judgements of its own that a new sequence's expectation from the others counts as."""
_KEPT = 0.98
"""Of the counts of right and wrong guesses at each new one: some fifty of them count."""


class Proposer(Protocol):
    """Guesses how sequences go on."""

    @property
    def guess_s(self) -> float:
        """What one more guess of all sequences costs, in seconds; 0 where it costs next to nothing."""

    def propose(self, wanted: Tokens[tuple[Sequence, int]]) -> list[list[int]]:
        """For each (sequence, n) at most n tokens that may follow its last one; [] if there is no guess."""

    def close(self, sequence: Sequence) -> None:
        """The sequence has ended."""


class Acceptance:
    """How often the guesses for one sequence are right: a moving share of hits among tokens judged.

    Every guess is judged by the tokens that come, whether it was computed as a draft or not. What the share
    is for `others` counts as a few judgements from the start, and fades with them.
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
        return self._hits / (self._hits + self._misses)

    def count(self, n_hits: int, *, missed: bool) -> None:
        if self._others is not None:
            self._others.count(n_hits, missed=missed)
        for _ in range(n_hits):
            self._hits, self._misses = self._hits * _KEPT + 1.0, self._misses * _KEPT
        if missed:
            self._hits, self._misses = self._hits * _KEPT, self._misses * _KEPT + 1.0

    def remember(self, guess: list[int], n_tokens: int) -> None:
        """A guess for the tokens after the first `n_tokens`; it stands till all of it is judged."""
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
    """Gives running sequences their drafts. One proposer, one policy; pure."""

    def __init__(self, proposer: Proposer, *, draft_max: int = DRAFT_MAX) -> None:
        self._proposer = proposer
        self._draft_max = draft_max
        self._overall = Acceptance()
        self._acceptance: dict[int, Acceptance] = {}
        self._n_paused = 0

    def draft(self, running: list[Sequence], times: StepTimes, n_batch: int) -> None:
        """Set `draft` of each sequence that generates. Drafts leave half of a batch of `n_batch` tokens."""
        if self._n_paused:
            self._n_paused -= 1
            return
        generating = [s for s in running if s.n_pending == 1 and s.n_generated > 0 and not s.scores_prompt]
        wanted = [(s, n) for s in generating if (n := self._most(s)) > 0]
        if not wanted:
            return
        guess_s = self._proposer.guess_s
        if guess_s > 0:
            wanted = self._worth_asking(wanted, len(generating), times, guess_s)
        n_tokens = len(generating)
        for (sequence, _), guess in zip(wanted, self._proposer.propose(wanted), strict=True):
            acceptance = self._of(sequence)
            acceptance.judge(sequence.tokens)
            n = len(guess) if guess_s > 0 else best_length(acceptance.share, len(guess), n_tokens, times)
            n = min(n, max(0, n_batch // 2 - n_tokens))
            sequence.draft = guess[:n]
            n_tokens += n
            acceptance.remember(guess, len(sequence.tokens))

    def _worth_asking(
        self, wanted: list[tuple[Sequence, int]], n_tokens: int, times: StepTimes, guess_s: float
    ) -> list[tuple[Sequence, int]]:
        """Those for whom guesses pay, and how many. One for whom they don't is asked again now and then."""
        worth: list[tuple[Sequence, int]] = []
        for sequence, most in wanted:
            n = best_length(self._of(sequence).share, most, n_tokens, times, guess_s)
            if not n and sequence.n_generated % _ASK_AGAIN_TOKENS == 0:
                n = min(most, _ASK_AGAIN_GUESSES)
            if n:
                worth.append((sequence, n))
                n_tokens += n
        return worth

    def _of(self, sequence: Sequence) -> Acceptance:
        return self._acceptance.setdefault(sequence.id, Acceptance(self._overall))

    def withdraw(self, running: list[Sequence]) -> bool:
        """Forget all drafts for a while: the KV cache has no room for guesses. Whether there were any."""
        self._n_paused = PAUSE_STEPS
        drafted = [sequence for sequence in running if sequence.draft]
        for sequence in drafted:
            sequence.draft = []
        return bool(drafted)

    def close(self, sequence: Sequence) -> None:
        self._acceptance.pop(sequence.id, None)
        self._proposer.close(sequence)

    def _most(self, sequence: Sequence) -> int:
        """How long its draft may be: the token after the last guess must be wanted, and under one rule."""
        most = min(self._draft_max, sequence.n_tokens_max - len(sequence.tokens) - 1)
        params = sequence.group.request.params
        if sequence.must_go_on and not params.ignore_eos:
            most = min(most, params.min_tokens - sequence.n_generated - 1)
        return most


def best_length(share: float, n_guessed: int, n_beside: int, times: StepTimes, guess_s: float = 0.0) -> int:
    """The draft length, 0 or one of `LENGTHS`, with most expected tokens per second, at `guess_s` per guess.

    `n_beside`: tokens of the step without this draft; each brings one token. A guess is right with
    probability `share`, as long as those before it are: n guesses bring share + share² + … tokens more.
    """
    best, best_rate = 0, 0.0
    n_before, expected, chance = 0, float(n_beside), 1.0
    for n in (0, *LENGTHS):
        if n > n_guessed:
            break
        for _ in range(n - n_before):
            chance *= share
            expected += chance
        n_before = n
        seconds = times.estimate(n_beside + n)
        if seconds is None:
            return n_guessed
        seconds += n * guess_s
        rate = expected / seconds if seconds > 0 else 0.0
        if rate > best_rate:
            best, best_rate = n, rate
    return best
