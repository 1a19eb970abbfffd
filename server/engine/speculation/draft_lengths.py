"""The lengths of drafts that bring most tokens per second, by expected hits and measured steps. Pure."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Guess:
    """The tokens that a proposer guesses of a sequence, and how far they can be trusted."""

    sequence: Sequence
    tokens: list[int]
    acceptance: Acceptance

    def hits(self, n: int) -> float:
        """Return how many of the first `n` are right in the mean."""
        return expected_hits(self.acceptance.share, n, self.acceptance.first_share)


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
    more; what passes between two steps counts to each, and where guesses take time also what a change of the
    step's size takes. The step has `n_others` tokens without this draft,
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
        if guess_s > 0:
            seconds += step_cost.change_s(n_others + n)
        if seconds > 0 and brought > best_rate * seconds:
            best, best_rate = n, brought / seconds
    return best


def lengths_in_turn(guesses: list[Guess], n_generating: int, step_cost: StepCost) -> list[int]:
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
