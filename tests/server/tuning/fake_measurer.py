"""A machine whose speed is a formula: sessions for the runner, with a clock that moves as they measure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.errors import WorkerDied
from server.tuning.messages import Figures, MeasureRequest
from server.tuning.settings import Settings
from server.tuning.space import Site, Space, space_for

Slowness = Callable[[Settings, bool], float]
"""A factor on all times, by settings and whether another process is busy; raises to crash."""

SPACE: Space = space_for(Site(cores=2, threads=2, openmp=True, gpu=False))
DEFAULTS = SPACE.defaults


class FakeMachine:
    def __init__(self, slowness: Slowness, noise: float = 0.0) -> None:
        self.now_s = 0.0
        self.n_open = 0
        self.n_open_max = 0
        self.opened: list[Settings] = []
        self.n_measured = 0
        self.interrupt_after: int | None = None
        self._slowness = slowness
        self._noise = noise
        self._random = random.Random(7)
        self._busy = False

    def clock_s(self) -> float:
        return self.now_s

    def open(self, settings: Settings) -> FakeSession:
        self._slowness(settings, False)
        self.now_s += 0.5
        self.n_open += 1
        self.n_open_max = max(self.n_open_max, self.n_open)
        self.opened.append(settings)
        return FakeSession(self, settings)

    @contextmanager
    def busy(self) -> Iterator[None]:
        assert not self._busy
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def figures(self, settings: Settings, request: MeasureRequest) -> Figures:
        self.n_measured += 1
        if self.n_measured == self.interrupt_after:
            raise KeyboardInterrupt
        factor = self._slowness(settings, self._busy) * self._random.gauss(1.0, self._noise)
        tokens = request.streams * request.prompt_tokens
        prefill_s, step_s = 0.001 * tokens * factor, 0.003 * request.streams**0.5 * factor
        self.now_s += prefill_s + step_s * request.steps
        return Figures(prefill_s=prefill_s, prefill_tokens=tokens, step_s=step_s, steps=request.steps)


class FakeSession:
    def __init__(self, machine: FakeMachine, settings: Settings) -> None:
        self._machine = machine
        self._settings = settings
        self._closed = False

    def measure(self, request: MeasureRequest) -> Figures:
        assert not self._closed
        return self._machine.figures(self._settings, request)

    def close(self) -> None:
        assert not self._closed
        self._closed = True
        self._machine.n_open -= 1


def crash(what: str) -> WorkerDied:
    return WorkerDied(f"the measuring process died of {what}")
