"""DeviceRows: rows of logits stay on the device, and only their k largest entries come to the host.

Called by DecodeOutputs. The request's own chain still chooses, on the host and from the same entries: the
tokens of a seed don't depend on the place of the rows. A request that needs whole rows gets them.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from models.errors import CorralError
from models.llamacpp.context import Context
from models.llamacpp.device_top_k import DeviceTopK
from server.engine.batch import BatchEntry
from server.worker.sampling.row_samplers import RowRequest, RowSamplers
from server.worker.sampling.steps.step import Floats

LARGEST = 64
"""Entries of a row that come to the host; few requests have a larger top_k."""
QUIET_STEPS = 256
"""Steps without need of whole rows after which slots that had needed them are turned on again."""


def device_top_k(context: Context) -> DeviceTopK:
    """Return the context's device top-k, of as many entries of a row as the host samples from."""
    return context.device_top_k(min(LARGEST, context.n_vocab))


class DeviceRows:
    """Turns slots on and off as their sequences need it. One thread.

    A slot is turned off when a row of it is needed whole. Each change costs a step milliseconds, so slots
    come back together, and only after a while.
    """

    def __init__(self, context: Context, samplers: RowSamplers, scored: Container[int]) -> None:
        """`scored`: the sequences that want logprobs now. All arguments are borrowed."""
        self._context = context
        self._top_k = device_top_k(context)
        self._slots = range(context.n_seq_max)
        self._samplers = samplers
        self._scored = scored
        self._on_device: set[int] = set()
        """The sequences of this batch whose rows stay on the device."""
        self._n_quiet = 0

    def start(self) -> bool:
        """Turn all slots on. False if the device can't."""
        return self._top_k.turn_on(self._slots)

    def restart(self) -> None:
        """Turn all slots on in a context that was allocated anew; those that the device can't do stay off."""
        self._top_k = device_top_k(self._context)
        self._on_device.clear()
        self._top_k.turn_on(self._slots)

    def prepare(self, entries: Sequence[BatchEntry]) -> None:
        """Turn off the slots of a batch that need whole rows, and note the others. Precedes the decode."""
        self._on_device.clear()
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
                self._on_device.add(entry.sequence_id)

    def _fits(self, entry: BatchEntry) -> bool:
        id_ = entry.sequence_id
        if entry.n_outputs > 1 or id_ in self._scored:
            return False
        return self._samplers.fits(id_, self._top_k.k, entry.ban_eog)

    def sample(
        self, context: Context, logits: Floats, wanted: Sequence[RowRequest]
    ) -> list[list[int] | CorralError]:
        """Do as `RowSamplers.sample`, for a prepared batch; rows on the device are missing in `logits`."""
        on_device = [each for each in wanted if each.sequence_id in self._on_device]
        if not on_device:
            return self._samplers.sample(context, logits, wanted)
        ids, values = self._top_k.rows(on_device[0].index)
        rows = [each.row for each in on_device]
        largest = self._samplers.sample_largest(ids[rows], values[rows], on_device)
        if len(on_device) == len(wanted):
            return largest
        on_host = [each for each in wanted if each.sequence_id not in self._on_device]
        whole_results = iter(self._samplers.sample(context, logits, on_host))
        largest_results = iter(largest)
        return [
            next(largest_results if each.sequence_id in self._on_device else whole_results) for each in wanted
        ]
