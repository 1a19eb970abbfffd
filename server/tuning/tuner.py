"""The search within its budget: propose, compare with the best so far, keep the better."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from models.errors import CorralError
from server.tuning.paired_runner import (
    GAIN_MIN,
    Noise,
    PairedRunner,
    Seconds,
    Verdict,
    judge,
    margin,
    mean,
    noise_of,
)
from server.tuning.proposer import Proposer
from server.tuning.settings import Settings, with_values
from server.tuning.space import Space
from server.tuning.workload import gain

NOISE_ROUNDS = 3
CONFIRM_ROUNDS = 3
KV_ROUNDS = 2
"""The phases that are no search compare this many times."""
REST_PART = 0.25
"""The phases after the search take at most this fraction of the budget."""

Phase = Literal["noise", "search", "confirm", "kv cache"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate and its result. `gain` is over the best at that time; None if it failed, see `problem`."""

    settings: Settings
    gain: float | None
    rounds: int
    verdict: Verdict
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The state of the search, for whoever shows it. `gain` is that of `best` over the defaults."""

    phase: Phase
    elapsed_s: float
    best: Settings
    gain: float
    trying: Settings
    n_trials: int


@dataclass(slots=True)
class Outcome:
    """The result of a search. `best` equals the defaults if nothing is better by more than the noise.

    `gain` is over the defaults, give or take `gain_margin`; `confirmed` means that the two were measured
    against each other at the end. `default_s` and `best_s` are median seconds of each load, from the same
    rounds. `kv_quant_gain` is that of a q8_0 KV cache over `best`, which is not used.
    """

    best: Settings
    gain: float = 0.0
    gain_margin: float = 0.0
    noise: float = 0.0
    confirmed: bool = False
    interrupted: bool = False
    exhausted: bool = False
    kv_quant_gain: float | None = None
    default_s: Seconds = field(default_factory=dict)
    best_s: Seconds = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    elapsed_s: float = 0.0


class Tuner:
    """One search. The runner, which the caller closes, measures."""

    def __init__(
        self,
        space: Space,
        runner: PairedRunner,
        budget_s: float,
        on_step: Callable[[Step], None] = lambda _step: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._space = space
        self._runner = runner
        self._on_step = on_step
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._budget_s = budget_s
        self._round_s = 0.0
        self._noise = Noise(0.0, 1)
        self._outcome = Outcome(best=space.defaults)

    def run(self) -> Outcome:
        """Search until the budget is used or nothing is left. Ctrl-C ends it with the best so far.

        Raises the defaults' error, if they fail.
        """
        outcome = self._outcome
        try:
            self._measure_noise()
            self._search()
            self._confirm()
            self._measure_kv_quant()
        except KeyboardInterrupt:
            outcome.interrupted = True
        outcome.elapsed_s = self._elapsed_s
        return outcome

    def _measure_noise(self) -> None:
        """Measure the defaults against themselves, in two processes."""
        defaults = self._space.defaults
        gains = []
        for number in range(NOISE_ROUNDS):
            self._report("noise", defaults)
            started_s = self._clock_s()
            one, other = self._runner.round(defaults, defaults, other_first=bool(number % 2))
            gains.append(gain(one, other))
            self._keep_times(one, one)
            self._round_s = self._clock_s() - started_s
        self._noise = noise_of(gains)
        self._outcome.noise = self._noise.deviation
        self._runner.forget(defaults)

    def _search(self) -> None:
        outcome = self._outcome
        proposer = Proposer(self._space)
        while self._elapsed_s + self._round_s + self._reserve_s < self._budget_s:
            candidate = proposer.next(outcome.best)
            if candidate is None:
                outcome.exhausted = True
                return
            trial = self._compare(candidate)
            outcome.trials.append(trial)
            proposer.report(candidate, None if trial.gain is None else outcome.gain + trial.gain)
            if trial.verdict is Verdict.BETTER and trial.gain is not None:
                self._runner.forget(outcome.best)
                outcome.best = candidate
                outcome.gain += trial.gain
                outcome.best_s = {}
            else:
                self._runner.forget(candidate)

    def _compare(self, candidate: Settings) -> Trial:
        """Compare with the best until the verdict is clear, or the time is up, which is no success."""
        gains: list[float] = []
        verdict = Verdict.UNDECIDED
        while verdict is Verdict.UNDECIDED:
            if gains and self._elapsed_s + self._round_s + self._reserve_s > self._budget_s:
                verdict = Verdict.NOT_BETTER
                break
            self._report("search", candidate)
            try:
                best_s, candidate_s = self._runner.round(
                    self._outcome.best, candidate, other_first=bool(len(gains) % 2)
                )
            except CorralError as error:
                return Trial(candidate, None, len(gains), Verdict.NOT_BETTER, error.message)
            gains.append(gain(best_s, candidate_s))
            verdict = judge(gains, self._noise)
        return Trial(candidate, mean(gains), len(gains), verdict)

    def _confirm(self) -> None:
        """Measure the best against the defaults: gains made step by step must hold as a whole."""
        outcome, defaults = self._outcome, self._space.defaults
        if outcome.best == defaults:
            outcome.confirmed = True
            return
        self._runner.forget(defaults)
        gains = []
        outcome.default_s, outcome.best_s = {}, {}
        rounds: list[tuple[Seconds, Seconds]] = []
        for number in range(CONFIRM_ROUNDS):
            self._report("confirm", outcome.best)
            rounds.append(self._runner.round(defaults, outcome.best, other_first=bool(number % 2)))
            gains.append(gain(*rounds[-1]))
        outcome.gain, outcome.gain_margin = mean(gains), margin(gains, self._noise)
        outcome.confirmed = True
        self._keep_times(_medians([one for one, _ in rounds]), _medians([other for _, other in rounds]))
        if outcome.gain - outcome.gain_margin <= 0 or outcome.gain < GAIN_MIN:
            outcome.best, outcome.gain, outcome.best_s = defaults, 0.0, outcome.default_s
        self._runner.forget(defaults)

    def _measure_kv_quant(self) -> None:
        """Measure a q8_0 KV cache for the report alone: it changes answers, so it is the user's choice."""
        best = self._outcome.best
        if not self._kv_rounds or self._elapsed_s + self._kv_rounds * self._round_s > self._budget_s:
            return
        quantized = with_values(best, kv_type="q8_0")
        gains = []
        for number in range(self._kv_rounds):
            self._report("kv cache", quantized)
            try:
                gains.append(gain(*self._runner.round(best, quantized, other_first=bool(number % 2))))
            except CorralError:  # this model or setting has none
                return
        self._outcome.kv_quant_gain = mean(gains)

    @property
    def _reserve_s(self) -> float:
        """Seconds for the rest of `run`; the KV cache is not measured where time is short."""
        with_kv_s = (CONFIRM_ROUNDS + self._kv_rounds) * self._round_s
        return with_kv_s if with_kv_s < REST_PART * self._budget_s else CONFIRM_ROUNDS * self._round_s

    @property
    def _kv_rounds(self) -> int:
        """Rounds for the KV cache: 0 where the search has it, or it can't be quantized."""
        searched = any(dimension.name == "kv_type" for dimension in self._space.dimensions)
        return 0 if searched or self._outcome.best.flash_attn == "off" else KV_ROUNDS

    @property
    def _elapsed_s(self) -> float:
        return self._clock_s() - self._began_s

    def _keep_times(self, default_s: Seconds, best_s: Seconds) -> None:
        self._outcome.default_s, self._outcome.best_s = default_s, best_s

    def _report(self, phase: Phase, trying: Settings) -> None:
        outcome = self._outcome
        self._on_step(Step(phase, self._elapsed_s, outcome.best, outcome.gain, trying, len(outcome.trials)))


def _medians(rounds: list[Seconds]) -> Seconds:
    return {load: statistics.median(seconds[load] for seconds in rounds) for load in rounds[0]}
