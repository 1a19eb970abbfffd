"""`InTurn`: several proposers, each for the sequences for which those before it have no guess."""

from __future__ import annotations

from collections.abc import Iterable

from server.engine.scheduling.passes import Passes
from server.engine.sequence import Sequence
from server.engine.speculation.speculation import Drafting
from server.engine.speculation.step_cost import StepCost


class InTurn:
    """Asks for drafts in turn: what costs nothing first. See `Drafting`."""

    def __init__(self, drafting: Iterable[Drafting]) -> None:
        self._drafting = tuple(drafting)

    def draft(
        self, running: list[Sequence], step_cost: StepCost, n_batch: int, passes: Passes | None = None
    ) -> None:
        for each in self._drafting:
            each.draft([one for one in running if not one.draft], step_cost, n_batch, passes)

    def withdraw(self, running: list[Sequence]) -> bool:
        withdrawn = [each.withdraw(running) for each in self._drafting]
        return any(withdrawn)

    def close(self, sequence: Sequence) -> None:
        for each in self._drafting:
            each.close(sequence)
