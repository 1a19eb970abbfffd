"""`Passes`: the passes through the weights of a step, and the rows of nothing that make them fewer.

While each slot has KV cells of its own, llama.cpp computes in one pass only slots side by side, with as many
tokens each: what is left, of longer drafts or behind a slot that has none, is one pass more. A pass reads all
weights, so where rows are cheap some that nobody asked for, behind a shorter draft or in a slot between two
that generate, are the smaller price. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from server.engine.speculation.step_cost import StepCost

ROWS_MAX = 64
"""A pass isn't filled up to more rows than this."""
WORTH = 1.03
"""Rows of nothing are computed where the step takes this many times as long without them."""
KEPT_STEPS = 16
"""Plans are made anew after so many steps: costs move slowly."""

Shape = tuple[tuple[int, int], ...]
"""Slots, ascending, and the tokens that each has in a step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of each pass, and by slot the rows of nothing among them. `seconds`: None while unknown."""

    rows: tuple[int, ...]
    pads: Mapping[int, int] = field(default_factory=dict)
    seconds: float | None = None


NO_PLAN = Plan(())


class Passes:
    """Plans steps by what steps of each size cost here."""

    def __init__(self, step_cost: StepCost) -> None:
        self._step_cost = step_cost
        self._plans: dict[Shape, Plan] = {}
        self._planned_at = 0

    def plan(self, shape: Shape, room: Callable[[int], int] | None = None) -> Plan:
        """Return the passes of a step. `room(slot)`: so many tokens find place behind what it will hold."""
        if self._step_cost.n_steps >= self._planned_at + KEPT_STEPS:
            self._plans.clear()
            self._planned_at = self._step_cost.n_steps
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._plans[shape] = self._best(shape)
        if room is not None and any(room(slot) < n for slot, n in plan.pads.items()):
            return Plan(tuple(natural_passes(shape)))
        return plan

    def _best(self, shape: Shape) -> Plan:
        """Join runs of slots side by side where that saves time: for each, the best way to end with it."""
        natural = natural_passes(shape)
        natural_s = self._seconds(natural)
        if natural_s is None or len(natural) == 1:
            return Plan(tuple(natural), {}, natural_s)
        runs = _runs(shape)
        best: list[Plan] = [Plan((), {}, 0.0)]
        for end in range(1, len(runs) + 1):
            options = []
            for start in range(end):
                part = tuple(pair for run in runs[start:end] for pair in run)
                for joined in self._ways(part, is_whole=end - start == 1):
                    before = best[start]
                    seconds = (before.seconds or 0.0) + (joined.seconds or 0.0)
                    options.append(Plan(before.rows + joined.rows, {**before.pads, **joined.pads}, seconds))
            best.append(min(options, key=lambda plan: plan.seconds or 0.0))
        found = best[-1]
        if found.pads and (found.seconds or 0.0) * WORTH < natural_s:
            return found
        return Plan(tuple(natural), {}, natural_s)

    def _ways(self, part: Shape, *, is_whole: bool) -> list[Plan]:
        """Return the ways to compute some runs together, or one as it is: `is_whole`."""
        lengths = dict(part)
        first, last = part[0][0], part[-1][0]
        most, least = max(lengths.values()), min(lengths.values())
        slots = range(first, last + 1)
        ways = []
        if is_whole:
            rows = natural_passes(part)
            ways.append(Plan(tuple(rows), {}, self._seconds(rows)))
        if len(slots) * most <= ROWS_MAX:
            pads = {slot: n for slot in slots if (n := most - lengths.get(slot, 0))}
            rows = [len(slots) * most]
            ways.append(Plan(tuple(rows), pads, self._seconds(rows)))
        if not is_whole and least < most and len(slots) * least <= ROWS_MAX:
            pads = {slot: least for slot in slots if slot not in lengths}
            rest = tuple((slot, n - least) for slot, n in part if n > least)
            rows = [len(slots) * least, *natural_passes(rest)]
            ways.append(Plan(tuple(rows), pads, self._seconds(rows)))
        return ways

    def _seconds(self, rows: list[int]) -> float | None:
        seconds = 0.0
        for n in rows:
            one = self._step_cost.estimate(n)
            if one is None:
                return None
            seconds += one
        return seconds


def natural_passes(shape: Shape) -> list[int]:
    """Return the rows of each pass that llama.cpp makes of a step by itself."""
    passes = []
    left = dict(shape)
    while left:
        slots = iter(sorted(left))
        run = [next(slots)]
        for slot in slots:
            if slot != run[-1] + 1:
                break
            run.append(slot)
        n = min(left[slot] for slot in run)
        passes.append(n * len(run))
        for slot in run:
            left[slot] -= n
            if not left[slot]:
                del left[slot]
    return passes


def _runs(shape: Shape) -> list[Shape]:
    """Cut a shape where a slot is missing."""
    runs: list[list[tuple[int, int]]] = []
    for slot, n in shape:
        if not runs or slot != runs[-1][-1][0] + 1:
            runs.append([])
        runs[-1].append((slot, n))
    return [tuple(run) for run in runs]
