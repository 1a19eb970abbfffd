"""The solver of an allocation: least loss within a size, as a multiple-choice knapsack for HiGHS.

    minimise  sum loss[t][c] · x[t][c]      x[t][c] in {0, 1}, one c for each t
    subject   sum bytes[t][c] · x[t][c] <= budget

Pure: numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from models.errors import QuantizationError
from quantize.allocation.candidates import Candidate

_GAP = 1e-4
"""A solution is good enough within this part of the best possible one."""

_SECONDS = 60.0
"""The solver may take this many seconds."""

Losses = Mapping[str, Mapping[Candidate, float]]
"""The expected loss of each candidate of each tensor, in nats."""


@dataclass(frozen=True)
class Allocation:
    """A candidate for each tensor, by its name; `loss` and `n_bytes` are their sums."""

    candidates: dict[str, Candidate]
    loss: float
    n_bytes: int


def allocate(losses: Losses, budget_bytes: int) -> Allocation:
    """Return the least loss within the budget, to one part in 10,000 (or what a minute finds).

    Raises QuantizationError: even the smallest candidates don't fit.
    """
    _require_room(losses, budget_bytes)
    options = [(name, candidate, loss) for name, some in losses.items() for candidate, loss in some.items()]
    values = _solve(losses, options, budget_bytes)
    best: dict[str, Candidate] = {}
    for name in losses:
        mine = [i for i, option in enumerate(options) if option[0] == name]
        best[name] = options[max(mine, key=lambda i: values[i])][1]
    total = sum(losses[name][candidate] for name, candidate in best.items())
    return Allocation(best, total, sum(candidate.n_bytes for candidate in best.values()))


def _require_room(candidates: Mapping[str, Iterable[Candidate]], budget_bytes: int) -> None:
    """Raise QuantizationError if even the smallest candidates of all tensors don't fit."""
    least = sum(min(candidate.n_bytes for candidate in some) for some in candidates.values())
    if least > budget_bytes:
        raise QuantizationError(
            f"the smallest that this model can be made has {least:,} bytes of weights, and the size asked "
            f"for leaves {budget_bytes:,}; ask for more, or give an importance matrix for smaller types"
        )


def _solve(losses: Losses, options: list[tuple[str, Candidate, float]], budget_bytes: int) -> list[float]:
    """Return HiGHS's value of each option's variable."""
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # the library has no types
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("mip_rel_gap", _GAP)
    solver.setOptionValue("time_limit", _SECONDS)
    unit = max((loss for _, _, loss in options), default=0.0) or 1.0
    for _, _, loss in options:
        solver.addCol(loss / unit, 0.0, 1.0, 0, np.empty(0, np.int32), np.empty(0))
    every = np.arange(len(options), dtype=np.int32)
    for i in every:
        solver.changeColIntegrality(int(i), highspy.HighsVarType.kInteger)
    # In units of the file's alignment, so that the numbers stay small and whole.
    n_units = np.asarray([candidate.n_bytes / 32 for _, candidate, _ in options])
    solver.addRow(-highspy.kHighsInf, budget_bytes // 32, len(every), every, n_units)
    for name in losses:
        mine = np.asarray([i for i, option in enumerate(options) if option[0] == name], np.int32)
        solver.addRow(1.0, 1.0, len(mine), mine, np.ones(len(mine)))
    solver.run()
    if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        raise QuantizationError("no choice of types was found for that size; ask for a larger one")
    return list(solver.getSolution().col_value)
