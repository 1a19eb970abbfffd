"""Two candidates measured side by side: every load on the one, then at once on the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from server.tuning.plan import Plan, first_ask, make_plan
from server.tuning.session import Session
from server.tuning.settings import Settings
from server.tuning.workload import Load, Workload

Open = Callable[[Settings], Session]
Busy = Callable[[], AbstractContextManager[None]]

Seconds = dict[Load, float]


class Arena:
    """Opens sessions as they are needed and keeps them, at most two, or one if memory has no room for more.

    `close` ends them all. With room for two, the candidates alternate load by load, otherwise round by round.
    """

    def __init__(self, workload: Workload, open_: Open, busy: Busy, *, room_for_two: bool = True) -> None:
        self.workload = workload
        self._open = open_
        self._busy = busy
        self._room_for_two = room_for_two
        self._sessions: dict[tuple[Settings, int], Session] = {}
        self._plan: Plan | None = None

    def plan(self, settings: Settings) -> Plan:
        """How much to measure, found out with `settings`; later calls give the same."""
        if self._plan is None:
            session = self._session((settings, 0))
            first = {}
            for streams in self.workload.streams:
                session.measure(first_ask(streams, self.workload))
                first[streams] = session.measure(first_ask(streams, self.workload))
            self._plan = make_plan(self.workload, first)
        return self._plan

    def round(self, one: Settings, other: Settings, *, other_first: bool) -> tuple[Seconds, Seconds]:
        """Seconds of every load for both. Equal settings get a process each.

        Raises WorkerDied or LlamaCppError when one of them fails; it is closed then.
        """
        plan = self.plan(one)
        keys = [(one, 0), (other, int(other == one))]
        order = [1, 0] if other_first else [0, 1]
        found: tuple[Seconds, Seconds] = ({}, {})
        if self._room_for_two:
            for key in keys:
                self._session(key)  # loaded before anything is timed
            for load in self.workload.loads:
                with self._busy() if load.busy else nullcontext():
                    for side in order:
                        found[side][load] = self._measure(keys[side], load, plan)
        else:
            for side in order:
                for load in self.workload.loads:
                    with self._busy() if load.busy else nullcontext():
                        found[side][load] = self._measure(keys[side], load, plan)
        return found

    def forget(self, settings: Settings) -> None:
        """Close the sessions of `settings`."""
        for key in [key for key in self._sessions if key[0] == settings]:
            self._sessions.pop(key).close()

    def close(self) -> None:
        while self._sessions:
            self._sessions.popitem()[1].close()

    def _measure(self, key: tuple[Settings, int], load: Load, plan: Plan) -> float:
        try:
            return plan.seconds(load, self._session(key).measure(plan.ask(load)))
        except BaseException:
            if key in self._sessions:
                self._sessions.pop(key).close()
            raise

    def _session(self, key: tuple[Settings, int]) -> Session:
        if key not in self._sessions:
            if not self._room_for_two:
                self.close()
            self._sessions[key] = self._open(key[0])
        return self._sessions[key]
