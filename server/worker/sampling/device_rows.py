"""Rows of logits that stay on the device: their k largest entries come to the host, where that is enough.

Called by RowResults. The request's own chain still chooses, here and from the same entries: its tokens for a
seed don't depend on where its rows were. What needs whole rows gets them.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from models.errors import CorralError
from models.llamacpp.context import Context
from server.engine.batch import BatchEntry
from server.worker.sampling.row_samplers import RowSamplers, Wanted
from server.worker.sampling.steps.step import Floats

LARGEST = 64
"""Entries of a row that come to the host: what requests say for top_k is seldom more."""
QUIET_STEPS = 256
"""After so many steps that needed no whole rows, slots that had needed them are turned on again."""


class DeviceRows:
    """Turns slots on and off as their sequences need it. One thread.

    A slot is turned off when a row of it is needed whole. Each change costs a step milliseconds, so slots
    come back together, and only after a while.
    """

    def __init__(self, context: Context, samplers: RowSamplers, scored: Container[int]) -> None:
        """`scored`: the sequences that want logprobs now; borrowed, as are the others."""
        self._top_k = context.device_top_k(min(LARGEST, context.n_vocab))
        self._slots = range(context.n_seq_max)
        self._samplers = samplers
        self._scored = scored
        self._there: set[int] = set()
        """The sequences of this batch whose rows stay on the device."""
        self._n_quiet = 0

    def start(self) -> bool:
        """Turn all slots on. False if the device can't."""
        return self._top_k.turn_on(self._slots)

    def stop(self) -> None:
        self._top_k.turn_off(self._slots)

    def prepare(self, entries: Sequence[BatchEntry]) -> None:
        """Before they are decoded: turn off the slots that need whole rows, and note which don't."""
        self._there.clear()
        whole: list[int] = []
        n_outputs = 0
        for entry in entries:
            if entry.targets is not None:
                # While any slot is on, llama.cpp keeps four rows per output; here they are hundreds.
                whole = list(self._slots)
            elif entry.n_outputs:
                n_outputs += 1
                if not self._fits(entry):
                    whole.append(entry.slot)
        if whole:
            self._n_quiet = 0
            self._top_k.turn_off(whole)
        elif n_outputs and len(self._top_k) < len(self._slots):
            self._n_quiet += 1
            if self._n_quiet >= QUIET_STEPS:
                self._n_quiet = 0
                self._top_k.turn_on(self._slots)
        for entry in entries:
            if entry.n_outputs and entry.slot in self._top_k:
                self._there.add(entry.sequence_id)

    def _fits(self, entry: BatchEntry) -> bool:
        id_ = entry.sequence_id
        if entry.n_outputs > 1 or id_ in self._scored:
            return False
        return self._samplers.fits(id_, self._top_k.k, entry.ban_eog)

    def sample(
        self, context: Context, logits: Floats, wanted: Sequence[Wanted]
    ) -> list[list[int] | CorralError]:
        """As `RowSamplers.sample`, for a batch that has been prepared; of `logits` some rows aren't there."""
        there = [each for each in wanted if each.sequence_id in self._there]
        if not there:
            return self._samplers.sample(context, logits, wanted)
        ids, values = self._top_k.rows(there[0].index)
        rows = [each.row for each in there]
        chosen = self._samplers.sample_largest(ids[rows], values[rows], there)
        if len(there) == len(wanted):
            return chosen
        here = [each for each in wanted if each.sequence_id not in self._there]
        others = iter(self._samplers.sample(context, logits, here))
        of_there = iter(chosen)
        return [next(of_there if each.sequence_id in self._there else others) for each in wanted]
