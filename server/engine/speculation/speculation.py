"""Speculative decoding: drafts are guessed, checked in one step, kept where the model agrees.

The output is what it would have been without; only the number of steps changes. A draft has the length that
brings most tokens per second, from how often this sequence's latest guesses were right and what steps of each
size cost here: 0 where no draft pays. All of a guess is compared with what comes, also what wasn't computed,
so a sequence that begins to repeat itself is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from server.engine.images import text_before_image
from server.engine.scheduling.passes import Passes
from server.engine.sequence import Sequence
from server.engine.speculation.acceptance import Acceptance, expected_hits
from server.engine.speculation.draft_lengths import (
    DRAFT_MAX,
    Guess,
    best_length,
    best_lengths,
    lengths_in_turn,
)
from server.engine.speculation.measured_gain import MeasuredGains
from server.engine.speculation.step_cost import StepCost

PAUSE_STEPS = 32
"""No drafts are made for so many steps after the KV cache had no room."""
_RETRY_TOKENS = 64
"""After so many tokens without guesses, as none paid, some are made all the same; then after twice as many,
and so on as long as they are wrong."""
_RETRY_TOKENS_MAX = 2048
"""They are made after at most so many tokens."""
_RETRY_GUESSES = 2
"""So many guesses are made then, at most."""
_KNOWN_SHARE = 0.8
"""If as many guesses are right and that doesn't pay, half of the wrong ones at most may become right: what
more would bring isn't tried for."""
CONTROL_STEPS = 128
"""After so many steps with guesses that cost time there are `REST_STEPS` without: nothing else tells what
those take now."""
_FIRST_CONTROL_STEPS = 16
"""The first rest comes after so many, the next after twice as many, and so on: what was measured when the
model was loaded may be wrong."""
_PROVEN_STEPS = 4 * _FIRST_CONTROL_STEPS
"""Guesses that pay by the clock until a rest as late as this do: fewer steps may have been a quiet moment."""
BEFORE_RETRY = 16
"""A proposer that rests begins to prepare itself so many steps before it is asked again."""
REST_STEPS = 8
"""If guesses cost time and none pays, that is reckoned anew only after so many steps: it takes time, too."""


class Proposer(Protocol):
    """A guesser of how sequences continue."""

    @property
    def guess_s(self) -> float:
        """The seconds that one more guess of all sequences costs; 0 where it costs next to nothing."""

    @property
    def start_s(self) -> float:
        """The seconds that guesses cost in addition, however many there are."""

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        """Return for each (sequence, n) at most n tokens that may follow its last one; [] for no guess."""

    def rest(self, n_steps: int) -> None:
        """Hear that no guess will be wanted for about so many steps: what it keeps for guesses may go."""

    def close(self, sequence: Sequence) -> None:
        """Free what belongs to a sequence that has ended, or goes on without some of its tokens."""


class Drafting(Protocol):
    """Gives running sequences their drafts: one `Speculation`, or several in turn."""

    def draft(
        self, running: list[Sequence], step_cost: StepCost, n_batch: int, passes: Passes | None = None
    ) -> None:
        """Set `draft` of each sequence that generates, see `Speculation`."""

    def withdraw(self, running: list[Sequence]) -> bool:
        """Drop all drafts and pause: the KV cache has no room for guesses. Return True if there were any."""

    def close(self, sequence: Sequence) -> None:
        """Free what belongs to a sequence that has ended, or goes on without some of its tokens."""


class Speculation:
    """The policy that gives running sequences their drafts, with one proposer; pure."""

    def __init__(
        self,
        proposer: Proposer,
        *,
        draft_max: int = DRAFT_MAX,
        n_streams_max: int | None = None,
        clock_s: Callable[[], float] | None = None,
    ) -> None:
        """`n_streams_max`: no drafts while more sequences generate; None: however many do. `clock_s`: for a
        proposer that costs time, it is measured what guesses bring; None: what is expected of them counts."""
        self._proposer = proposer
        self._gains = None if clock_s is None else MeasuredGains(clock_s)
        self._draft_max = draft_max
        self._n_streams_max = n_streams_max
        self._overall = Acceptance()
        self._acceptance: dict[int, Acceptance] = {}
        self._n_paused = 0
        self._n_unguessed = 0
        self._n_till_control = self._control_steps = _FIRST_CONTROL_STEPS
        self._is_trial = False
        """The guesses of this step are made though they aren't expected to pay."""
        self._is_idle = False
        """It rests as no guess pays; such steps are measured together, as that takes time, too."""
        self._retry_tokens = _RETRY_TOKENS
        self._retry_share = 0.0

    def draft(
        self, running: list[Sequence], step_cost: StepCost, n_batch: int, passes: Passes | None = None
    ) -> None:
        """Set `draft` of each sequence that generates; half of a batch of `n_batch` tokens stays free.

        `passes` None: a step is one pass, or isn't planned.
        """
        if self._gains is None or (self._n_paused and self._is_idle):
            self._draft(running, step_cost, n_batch, passes)
            return
        self._gains.end_steps(running)
        was_asked = self._draft(running, step_cost, n_batch, passes)
        has_guesses = any(sequence.draft for sequence in running)
        if has_guesses == was_asked and not (was_asked and self._is_trial):
            self._gains.begin_steps(running, has_guesses=has_guesses)

    def _draft(
        self, running: list[Sequence], step_cost: StepCost, n_batch: int, passes: Passes | None
    ) -> bool:
        """Set the drafts. Return whether the proposer was asked."""
        if self._n_paused:
            self._n_paused -= 1
            return False
        generating = [s for s in running if s.n_pending == 1 and s.n_generated > 0 and not s.scores_prompt]
        if self._n_streams_max is not None and len(generating) > self._n_streams_max:
            for sequence in generating:
                sequence.draft = []
            return False
        wanted = [(s, n) for s in generating if (n := self._draft_limit(s)) > 0]
        guess_s = self._proposer.guess_s
        if wanted and guess_s > 0:
            wanted = self._worth_asking(wanted, len(generating), step_cost, guess_s)
        if not wanted:
            return False
        guesses = []
        for (sequence, _), tokens in zip(wanted, self._proposer.propose(wanted), strict=True):
            acceptance = self.acceptance_of(sequence)
            if guess_s == 0:
                acceptance.judge(sequence.tokens)
            guessed = text_before_image(tokens) if sequence.images else tokens
            guesses.append(Guess(sequence, guessed, acceptance))
        room = max(0, n_batch // 2 - len(generating))
        if guess_s > 0:
            lengths = [len(guess.tokens) for guess in guesses]
        elif passes is not None and len(generating) > 1:
            slots = [one.slot for one in generating if one.slot is not None]
            lengths = best_lengths(guesses, slots, passes)
        else:
            lengths = lengths_in_turn(guesses, len(generating), step_cost)
        for guess, length in zip(guesses, lengths, strict=True):
            n = min(length, room)
            room -= n
            guess.sequence.draft = guess.tokens[:n]
            guess.acceptance.remember(guess.tokens, len(guess.sequence.tokens))
        return True

    def _worth_asking(
        self, wanted: list[tuple[Sequence, int]], n_tokens: int, step_cost: StepCost, guess_s: float
    ) -> list[tuple[Sequence, int]]:
        """Return the sequences for which the proposer is asked, and for how many guesses; none: it rests."""
        self._judge(wanted)
        self._is_trial = True
        paying = self._where_it_pays(wanted, n_tokens, step_cost, guess_s)
        self._is_idle = not paying
        if not paying:
            self._n_unguessed += (REST_STEPS - 1) * len(wanted)
            n_steps = (self._retry_tokens - self._n_unguessed) // len(wanted) - BEFORE_RETRY
            if n_steps > 0 and self._retry_tokens > _RETRY_TOKENS:
                self._proposer.rest(n_steps)
        elif self._n_till_control:
            self._n_till_control -= 1
            return paying
        else:
            self._control_steps = min(2 * self._control_steps, CONTROL_STEPS)
            self._n_till_control = self._control_steps
        self._n_paused = REST_STEPS - 1
        return []

    def _judge(self, wanted: list[tuple[Sequence, int]]) -> None:
        """Compare the guesses that are still open with what has come, of sequences that may get none now."""
        for sequence, _ in wanted:
            acceptance = self._acceptance.get(sequence.id)
            if acceptance is not None:
                acceptance.judge(sequence.tokens)

    def _where_it_pays(
        self, wanted: list[tuple[Sequence, int]], n_tokens: int, step_cost: StepCost, guess_s: float
    ) -> list[tuple[Sequence, int]]:
        """Return the sequences for which guesses pay, and how many; now and then one for which none does."""
        paying: list[tuple[Sequence, int]] = []
        n_streams, n_brought = n_tokens, float(n_tokens)
        start_s = self._proposer.start_s
        for sequence, most in wanted:
            acceptance = self.acceptance_of(sequence)
            share, first_share = acceptance.share, acceptance.first_share
            best = partial(
                best_length,
                n_guessed=most,
                n_others=n_tokens,
                step_cost=step_cost,
                guess_s=guess_s,
                start_s=0.0 if paying else start_s,
                n_brought=n_brought,
            )
            n = best(share, first_share=first_share)
            if not n:
                n = min(most, self._n_retried(n_streams, best))
            elif not self._may_pay(n_streams):
                n = 0
            if n:
                paying.append((sequence, n))
                n_tokens += n
                n_brought += expected_hits(share, n, first_share)
        return paying

    def _may_pay(self, n_streams: int) -> bool:
        """Return False if guesses that should pay don't by the clock, and aren't to be tried anew."""
        gain = None if self._gains is None else self._gains.of(n_streams)
        pays = None if gain is None else gain.judge()
        if gain is not None and pays is False:
            if not self._is_due():
                return False
            gain.forget_guesses()
            self._n_till_control = self._control_steps = _FIRST_CONTROL_STEPS
        elif pays and self._control_steps >= _PROVEN_STEPS:
            self._retry_tokens = _RETRY_TOKENS
        self._is_trial = False
        return True

    def _is_due(self) -> bool:
        """Count a token without guesses, as they don't pay. Return whether they are to be tried again."""
        self._n_unguessed += 1
        if self._n_unguessed < self._retry_tokens:
            return False
        self._n_unguessed = 0
        self._retry_tokens = min(2 * self._retry_tokens, _RETRY_TOKENS_MAX)
        return True

    def _n_retried(self, n_streams: int, best: Callable[[float], int]) -> int:
        """Return how many guesses to make for a sequence for which they don't pay: mostly none.

        At first, and as long as they are right, some are made at each step, so that what guesses well is soon
        known to; but not where they have lost by the clock, or where more of them being right wouldn't let
        them pay. `best` is `best_length` by the share that is right.
        """
        share = self._overall.share
        has_lost = self._gains is not None and self._gains.of(n_streams).judge() is False
        if share > self._retry_share and not has_lost:  # the last ones were right
            self._retry_share = share
            is_known = share >= _KNOWN_SHARE
            if not is_known:
                self._retry_tokens = _RETRY_TOKENS
            if best((1.0 + share) / 2 if is_known else 1.0):
                return _RETRY_GUESSES
        if not self._is_due():
            return 0
        self._retry_share = share
        return _RETRY_GUESSES

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
