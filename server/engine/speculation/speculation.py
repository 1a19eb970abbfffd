"""Speculative decoding: drafts are guessed, checked in one step, kept where the model agrees.

The output is what it would have been without; only the number of steps changes. A draft has the length that
brings most tokens per second, from how often this sequence's latest guesses were right and what steps of each
size cost here: 0 where no draft pays. All of a guess is compared with what comes, also what wasn't computed,
so a sequence that begins to repeat itself is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from server.engine.images import text_before_image
from server.engine.scheduling.passes import Passes
from server.engine.sequence import Sequence
from server.engine.speculation.acceptance import Acceptance, expected_hits
from server.engine.speculation.step_cost import StepCost

LENGTHS = (1, 2, 3, 5, 7, 11, 15, 23, 31)
"""A draft has one of these lengths: few enough that the cost of each is soon known. With the last token that
is 2 to 32 tokens: kernels work in blocks of 4, 8 or 16 rows."""
DRAFT_MAX = LENGTHS[-1]
"""A draft has at most so many tokens."""
FEW = 4
"""So many numbers of drafts are weighed against each other, and one for each sequence."""
WORTH = 1.03
"""A draft promises at least so many times the tokens per second of none: less is within what steps of one
size differ by, and would cost sampling for nothing."""
PAUSE_STEPS = 32
"""No drafts are made for so many steps after the KV cache had no room."""
_RETRY_TOKENS = 64
"""After so many tokens without guesses, as none paid, some are made all the same; then after twice as many,
and so on as long as they are wrong."""
_RETRY_TOKENS_MAX = 2048
"""They are made after at most so many tokens."""
_RETRY_GUESSES = 2
"""So many guesses are made then, at most."""
CONTROL_STEPS = 128
"""After so many steps with guesses that cost time there are `REST_STEPS` without: nothing else tells what
those take now."""
_FIRST_CONTROL_STEPS = 16
"""The first rest comes after so many: what was measured when the model was loaded may be wrong."""
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


@dataclass(frozen=True, slots=True)
class Guess:
    """The tokens that a proposer guesses of a sequence, and how far they can be trusted."""

    sequence: Sequence
    tokens: list[int]
    acceptance: Acceptance

    def hits(self, n: int) -> float:
        """Return how many of the first `n` are right in the mean."""
        return expected_hits(self.acceptance.share, n, self.acceptance.first_share)


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
        self._n_unguessed = 0
        self._n_till_control = _FIRST_CONTROL_STEPS
        self._retry_tokens = _RETRY_TOKENS
        self._retry_share = 0.0

    def draft(
        self, running: list[Sequence], step_cost: StepCost, n_batch: int, passes: Passes | None = None
    ) -> None:
        """Set `draft` of each sequence that generates; half of a batch of `n_batch` tokens stays free.

        `passes` None: a step is one pass, or isn't planned.
        """
        if self._n_paused:
            self._n_paused -= 1
            return
        generating = [s for s in running if s.n_pending == 1 and s.n_generated > 0 and not s.scores_prompt]
        if self._n_streams_max is not None and len(generating) > self._n_streams_max:
            for sequence in generating:
                sequence.draft = []
            return
        wanted = [(s, n) for s in generating if (n := self._draft_limit(s)) > 0]
        guess_s = self._proposer.guess_s
        if wanted and guess_s > 0:
            wanted = self._worth_asking(wanted, len(generating), step_cost, guess_s)
        if not wanted:
            return
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
            lengths = _lengths_in_turn(guesses, len(generating), step_cost)
        for guess, length in zip(guesses, lengths, strict=True):
            n = min(length, room)
            room -= n
            guess.sequence.draft = guess.tokens[:n]
            guess.acceptance.remember(guess.tokens, len(guess.sequence.tokens))

    def _worth_asking(
        self, wanted: list[tuple[Sequence, int]], n_tokens: int, step_cost: StepCost, guess_s: float
    ) -> list[tuple[Sequence, int]]:
        """Return the sequences for which the proposer is asked, and for how many guesses; none: it rests."""
        self._judge(wanted)
        paying = self._where_it_pays(wanted, n_tokens, step_cost, guess_s)
        if not paying:
            self._n_unguessed += (REST_STEPS - 1) * len(wanted)
        elif self._n_till_control:
            self._n_till_control -= 1
            return paying
        else:
            self._n_till_control = CONTROL_STEPS
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
        n_brought = float(n_tokens)
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
                n = min(most, self._n_retried(partial(best, 1.0)))
            if n:
                paying.append((sequence, n))
                n_tokens += n
                n_brought += expected_hits(share, n, first_share)
        return paying

    def _n_retried(self, best_if_right: Callable[[], int]) -> int:
        """Return how many guesses to make for a sequence for which they don't pay: mostly none.

        At first, and as long as they are right, some are made at each step, so that what guesses well is soon
        known to; but not where guesses that are always right wouldn't pay.
        """
        share = self._overall.share
        if share > self._retry_share:  # the last ones were right
            self._retry_tokens, self._retry_share = _RETRY_TOKENS, share
            if best_if_right():
                return _RETRY_GUESSES
        self._n_unguessed += 1
        if self._n_unguessed < self._retry_tokens:
            return 0
        self._n_unguessed, self._retry_share = 0, share
        self._retry_tokens = min(2 * self._retry_tokens, _RETRY_TOKENS_MAX)
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


def best_length(
    share: float,
    n_guessed: int,
    n_others: int,
    step_cost: StepCost,
    guess_s: float = 0.0,
    *,
    start_s: float = 0.0,
    n_brought: float | None = None,
    first_share: float | None = None,
) -> int:
    """Return the draft length, 0 or one of `LENGTHS`, with most expected tokens per second.

    It is 0 unless another brings `WORTH` times as many. A guess takes `guess_s`, and any draft `start_s`
    more; what passes between two steps counts to each. The step has `n_others` tokens without this draft,
    which bring `n_brought`; None: one each. A guess is right with probability `share`, as long as those
    before it are, and the first with `first_share`; None: as the others.
    """
    seconds = step_cost.estimate(n_others)
    if seconds is None:
        return n_guessed
    between_s = step_cost.between_s or 0.0
    seconds += between_s
    best = 0
    others = float(n_others) if n_brought is None else n_brought
    best_rate = WORTH * others / seconds if seconds > 0 else 0.0
    for n in LENGTHS:
        if n > n_guessed:
            break
        brought = others + expected_hits(share, n, first_share)
        seconds = step_cost.estimate(n_others + n)
        if seconds is None:
            return n_guessed
        seconds += between_s + n * guess_s + start_s
        if seconds > 0 and brought > best_rate * seconds:
            best, best_rate = n, brought / seconds
    return best


def _lengths_in_turn(guesses: list[Guess], n_generating: int, step_cost: StepCost) -> list[int]:
    """Return the length of each draft where rows cost the same whosever they are: one after the other."""
    lengths = []
    n_tokens, n_brought = n_generating, float(n_generating)
    for guess in guesses:
        n = best_length(
            guess.acceptance.share,
            len(guess.tokens),
            n_tokens,
            step_cost,
            n_brought=n_brought,
            first_share=guess.acceptance.first_share,
        )
        lengths.append(n)
        n_tokens += n
        n_brought += guess.hits(n)
    return lengths


def best_lengths(guesses: list[Guess], slots: list[int], passes: Passes) -> list[int]:
    """Return the length of each draft where unlike ones make a step several passes.

    The best guesses, a few of them or all, get drafts of one length, or as long ones as there are. The
    sequences that generate are in `slots`.
    """
    step = dict.fromkeys(sorted(slots), 1)
    seconds = passes.plan(tuple(step.items())).seconds
    if not seconds:
        return [len(guess.tokens) for guess in guesses]
    best: tuple[int, ...] = (0,) * len(guesses)
    best_rate = WORTH * len(slots) / seconds
    if len(slots) + sum(one.hits(len(one.tokens)) for one in guesses) < WORTH * len(slots):
        return list(best)  # not even for nothing
    ranked = sorted((at for at, one in enumerate(guesses) if one.tokens), key=lambda at: -guesses[at].hits(3))
    for n_drafted in dict.fromkeys((*range(1, min(FEW, len(ranked)) + 1), len(ranked))):
        drafted = set(ranked[:n_drafted])
        for length in LENGTHS:
            lengths = tuple(
                min(length, len(one.tokens)) if at in drafted else 0 for at, one in enumerate(guesses)
            )
            if max(lengths) < length:
                break
            tokens = dict(step)
            for one, n in zip(guesses, lengths, strict=True):
                if one.sequence.slot is not None:
                    tokens[one.sequence.slot] += n
            seconds = passes.plan(tuple(tokens.items())).seconds
            rate = len(slots) + sum(one.hits(n) for one, n in zip(guesses, lengths, strict=True))
            if seconds and rate / seconds > best_rate:
                best, best_rate = lengths, rate / seconds
    return list(best)
