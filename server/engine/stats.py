"""`EngineStats`: counters of an engine since its start; `ServiceTime`: how long requests take."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

STEP_BOUNDS_S: tuple[float, ...] = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15),
    *(0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0),
)
"""Bounds of the buckets in which steps are counted by the time that they took."""


@dataclass(slots=True)
class EngineStats:
    """Totals, read by any thread, written by the engine's.

    `prompt_s_total` and `generated_s_total` share the time of each step by the tokens that each kind had in
    it.
    """

    steps_total: int = 0
    prompt_tokens_total: int = 0
    cached_tokens_total: int = 0
    generated_tokens_total: int = 0
    prompt_s_total: float = 0.0
    generated_s_total: float = 0.0
    preemptions_total: int = 0
    entries_total: int = 0
    """The sequences of all steps together."""
    drafts_total: int = 0
    """The drafts that were checked."""
    checkpoints_total: int = 0
    """The states that were copied for slots to go back to."""
    rewinds_total: int = 0
    """The times that a slot went back to one."""
    checkpoints: int = 0
    """The states that are kept now."""
    checkpoint_bytes: int = 0
    """The size of those states."""
    step_counts: list[int] = field(default_factory=lambda: [0] * (len(STEP_BOUNDS_S) + 1))
    """The number of steps in each bucket of `STEP_BOUNDS_S`; the last one has those that took longer."""

    def add_step(
        self, n_prompt_tokens: int, n_tokens: int, n_outputs: int, seconds: float, n_entries: int = 1
    ) -> None:
        """Count a step of `n_tokens`, prompts' among them, that sampled `n_outputs` and took `seconds`."""
        self.steps_total += 1
        self.entries_total += n_entries
        self.step_counts[bisect_left(STEP_BOUNDS_S, seconds)] += 1
        self.prompt_tokens_total += n_prompt_tokens
        self.generated_tokens_total += n_outputs
        prompt_share = n_prompt_tokens / n_tokens
        self.prompt_s_total += seconds * prompt_share
        self.generated_s_total += seconds * (1.0 - prompt_share)


@dataclass(slots=True)
class ServiceTime:
    """The moving average of the seconds that a request takes once it is admitted."""

    mean_s: float | None = None

    def add(self, seconds: float) -> None:
        """Count a request that took `seconds`."""
        self.mean_s = seconds if self.mean_s is None else 0.8 * self.mean_s + 0.2 * seconds

    def retry_after_s(self, n_waiting: int, n_slots: int) -> float:
        """Return the seconds until half of those who wait will have been served; at least one."""
        return max(1.0, (self.mean_s or 1.0) * n_waiting / (2 * n_slots))
