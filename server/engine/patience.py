"""`Patience`: tells how long a step may take before it counts as a hang. Pure.

A step has 20 times what steps of its size cost here, and never less than ten seconds: a machine that is short
of memory or busy makes steps slow by more than one would think, and a hang has all the time there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from server.engine.batch import Batch, Trim
from server.engine.speculation.step_cost import StepCost

TIMES = 20.0
"""A step that takes so many times what was to be expected is a hang."""
LEAST_S = 10.0
"""No step is a hang before it has taken so long."""
FIRST_LEAST_S = 60.0
"""The first step of a size has so long at least: a driver may compile kernels for it."""
UNKNOWN_S = 600.0
"""A step of which nothing is known may take so long."""
MOVE_S = 3.0
"""To put a slot's state elsewhere, which a step may begin with, is expected to take so long."""
ATTENTION_TOKENS = 2048
"""With so many tokens before it, a token is expected to take twice as long as with none: attention grows with
them, and the costs of steps are first measured without."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The time of one step."""

    n_tokens: int
    expected_s: float
    """0: that isn't known."""
    limit_s: float


class StepWatch(Protocol):
    """Something that is told of each step as it begins, and ends: a `Pulse`."""

    def begin(self, n_tokens: int, expected_s: float, limit_s: float) -> None:
        """Hear that a step begins."""

    def busy(self) -> None:
        """Hear that it has ended."""


class Patience:
    """Knows the sizes of steps that have been done. `cost` is the engine's, which learns from each step."""

    def __init__(self, cost: StepCost) -> None:
        self._cost = cost
        self._done: set[tuple[int, bool]] = set()
        self._size = (0, False)
        """The size class of the step that was asked for last."""

    def allowance(self, batch: Batch) -> Allowance:
        """Return the time that a step has, which is about to begin."""
        n_tokens, n_prompt, n_before = _sizes(batch)
        self._size = _size_class(n_tokens, n_prompt)
        if batch.image is not None:  # no step of tokens tells how long it takes
            return Allowance(n_tokens, 0.0, UNKNOWN_S)
        expected_s = self._compute_s(n_tokens - n_prompt, n_prompt, max(1, len(batch.rows)))
        if expected_s is None:
            return Allowance(n_tokens, 0.0, UNKNOWN_S)
        expected_s *= 1.0 + n_before / ATTENTION_TOKENS
        if batch.memory:
            expected_s += MOVE_S * sum(not isinstance(change, Trim) for change in batch.memory)
        least_s = LEAST_S if self._size in self._done else FIRST_LEAST_S
        return Allowance(n_tokens, expected_s, max(least_s, TIMES * expected_s))

    def note_end(self) -> None:
        """Learn that the step that was asked for last has come to its end."""
        self._done.add(self._size)

    def _compute_s(self, n_others: int, n_prompt: int, n_passes: int) -> float | None:
        """Return the seconds of a step; None while nothing like it was measured."""
        cost = self._cost
        others_s, prompt_token_s = cost.estimate(n_others), cost.prompt_token_s
        if prompt_token_s is None and n_prompt:
            prompt_token_s = cost.estimate(1)  # it never takes longer than by itself
        if others_s is None or (n_prompt and prompt_token_s is None):
            return None
        return others_s * n_passes + n_prompt * (prompt_token_s or 0.0)


def _sizes(batch: Batch) -> tuple[int, int, int]:
    """Return a step's tokens, how many of them are prompts', and the most tokens that one comes after."""
    n_tokens = n_prompt = n_before = 0
    for entry in batch.entries:
        n = len(entry.tokens)
        n_tokens += n
        n_prompt += n - entry.n_outputs
        n_before = max(n_before, entry.position + n)
    return n_tokens + sum(batch.pads.values()), n_prompt, n_before


def _size_class(n_tokens: int, n_prompt: int) -> tuple[int, bool]:
    """Return what steps of about that size and kind share: drivers choose kernels by powers of two."""
    return n_tokens.bit_length(), n_prompt > 0
