"""What to try next: first every value once, in the best found so far, then what Optuna's TPE makes of it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from server.tuning.settings import Settings, changed, value_of
from server.tuning.space import Dimension, Space

if TYPE_CHECKING:
    import optuna

SAME_AGAIN_MAX = 30
"""So many proposals in a row that were tried before mean that nothing is left worth trying."""
FAILED_GAIN = -1.0
"""What the search is told of settings that crash: far slower than any that work."""
STARTUP_TRIALS = 6


class Proposer:
    """The search. `next` gives settings not given before; `tell` each one's gain over the defaults."""

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
        self._asked: set[Settings] = {space.defaults}
        self._changes = space.changes()
        self._tell_trial(self._ask(space.defaults)[1], space.defaults, 0.0)

    def next(self, best: Settings) -> Settings | None:
        """Settings to try while `best` is the best known; None when there are none left."""
        while self._changes:
            name, value = self._changes.pop(0)
            neighbour = changed(best, **{name: value})
            if neighbour not in self._asked:
                return self._hand_out(*self._ask(neighbour))
        for _ in range(SAME_AGAIN_MAX if len(self._asked) < self._space.size else 0):
            settings, trial = self._ask()
            if settings not in self._asked:
                return self._hand_out(settings, trial)
            self._tell_trial(trial, settings, self._gains.get(settings, FAILED_GAIN))
        return None

    def tell(self, settings: Settings, gain: float | None) -> None:
        """`gain` None: they don't work."""
        self._tell_trial(self._open.pop(settings), settings, FAILED_GAIN if gain is None else gain)

    def _hand_out(self, settings: Settings, trial: optuna.Trial) -> Settings:
        self._asked.add(settings)
        self._open[settings] = trial
        return settings

    def _ask(self, wanted: Settings | None = None) -> tuple[Settings, optuna.Trial]:
        """A trial for `wanted`, or for what the sampler likes."""
        if wanted is not None:
            self._study.enqueue_trial(
                {
                    dimension.name: dimension.values.index(value_of(wanted, dimension.name))
                    for dimension in self._space.dimensions
                }
            )
        trial = self._study.ask()
        values = {
            dimension.name: dimension.values[_suggest(trial, dimension)]
            for dimension in self._space.dimensions
        }
        return changed(self._space.defaults, **values), trial

    def _tell_trial(self, trial: optuna.Trial, settings: Settings, gain: float) -> None:
        self._study.tell(trial, gain)
        self._gains[settings] = gain


def _suggest(trial: optuna.Trial, dimension: Dimension) -> int:
    """The place of the value to take: as a number where the order of the values means something."""
    last = len(dimension.values) - 1
    if dimension.ordered:
        return trial.suggest_int(dimension.name, 0, last)
    return int(trial.suggest_categorical(dimension.name, range(last + 1)))
