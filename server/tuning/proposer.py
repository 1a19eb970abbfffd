"""`Proposer`: the next settings to try, first each value once in the best so far, then Optuna's TPE."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from server.tuning.settings import Settings, value_of, with_values
from server.tuning.space import Dimension, Space

if TYPE_CHECKING:
    import optuna

SAME_AGAIN_MAX = 30
"""This many repeated proposals in a row mean that nothing is left worth trying."""
FAILED_GAIN = -1.0
"""Settings that crash get this gain: they are far slower than any that work."""
STARTUP_TRIALS = 6
"""TPE draws at random until it knows this many trials."""


class Proposer:
    """The search. `next` returns new settings, and `report` takes each one's gain over the defaults."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # multivariate is marked as experimental
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS
            )
        self._space = space
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._open: dict[Settings, optuna.Trial] = {}
        self._gains: dict[Settings, float] = {}
        self._proposed: set[Settings] = {space.defaults}
        self._changes = space.changes()
        self._report_trial(self._new_trial(space.defaults)[1], space.defaults, 0.0)

    def next(self, best: Settings) -> Settings | None:
        """Return settings to try while `best` is the best known; None when there are none left."""
        while self._changes:
            name, value = self._changes.pop(0)
            neighbour = with_values(best, **{name: value})
            if neighbour not in self._proposed:
                return self._propose(*self._new_trial(neighbour))
        for _ in range(SAME_AGAIN_MAX if len(self._proposed) < self._space.size else 0):
            settings, trial = self._new_trial()
            if settings not in self._proposed:
                return self._propose(settings, trial)
            self._report_trial(trial, settings, self._gains.get(settings, FAILED_GAIN))
        return None

    def report(self, settings: Settings, gain: float | None) -> None:
        """Take the gain of settings that `next` returned; None if they don't work."""
        self._report_trial(self._open.pop(settings), settings, FAILED_GAIN if gain is None else gain)

    def _propose(self, settings: Settings, trial: optuna.Trial) -> Settings:
        self._proposed.add(settings)
        self._open[settings] = trial
        return settings

    def _new_trial(self, settings: Settings | None = None) -> tuple[Settings, optuna.Trial]:
        """Return a trial for `settings`, or for what the sampler likes."""
        if settings is not None:
            self._study.enqueue_trial(
                {
                    dimension.name: dimension.values.index(value_of(settings, dimension.name))
                    for dimension in self._space.dimensions
                }
            )
        trial = self._study.ask()
        values = {
            dimension.name: dimension.values[_suggest(trial, dimension)]
            for dimension in self._space.dimensions
        }
        return with_values(self._space.defaults, **values), trial

    def _report_trial(self, trial: optuna.Trial, settings: Settings, gain: float) -> None:
        self._study.tell(trial, gain)
        self._gains[settings] = gain


def _suggest(trial: optuna.Trial, dimension: Dimension) -> int:
    """Return the index of the suggested value; it is a number where the values' order means something."""
    last = len(dimension.values) - 1
    if dimension.ordered:
        return trial.suggest_int(dimension.name, 0, last)
    return int(trial.suggest_categorical(dimension.name, range(last + 1)))
