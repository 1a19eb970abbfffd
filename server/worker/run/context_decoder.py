"""`ContextDecoder`: puts batch entries through one llama.cpp context and says where their results are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from server.engine.batch import BatchEntry
from server.worker.run.adaptive_threads import AdaptiveThreads
from server.worker.run.hidden_state_log import HiddenStateLog

FEW_TOKENS = 32
"""A batch of at most this many tokens is one of sequences that generate."""

NO_PADS: Mapping[int, int] = MappingProxyType({})
NOBODY = -1
"""The sequence of tokens of no meaning."""

Place = tuple[BatchEntry, int, int]
"""An entry with results, its first row of logits, and that row's index in the batch."""

Decoded = tuple[list[Place], int]
"""The places of a decode's results, and the number of its rows of logits."""


class DecodeListener(Protocol):
    """Something that acts right after a decode, before its tokens are chosen: the `Outbox`."""

    def decoded(self) -> None:
        """The model has just computed."""

    def flush(self) -> None:
        """Something is computed next that takes long."""


class ContextDecoder:
    """Decodes in one context. One thread.

    The batch is borrowed: several decoders may fill the same one in turn. `threads` is for the context that
    generates, where it is on the CPU; None leaves the context's own numbers of threads.
    """

    __slots__ = ("_batch", "_listener", "_log", "_n_threads", "_threads", "context")

    def __init__(
        self,
        context: Context,
        batch: TokenBatch,
        listener: DecodeListener | None = None,
        threads: AdaptiveThreads | None = None,
        log: HiddenStateLog | None = None,
    ) -> None:
        """`log` notes the hidden states of each decode; None: nobody wants them."""
        self.context = context
        self._batch = batch
        self._listener = listener
        self._log = log
        self._threads = threads
        self._n_threads = context.n_threads

    def decode(self, entries: list[BatchEntry], pads: Mapping[int, int] = NO_PADS) -> Decoded:
        """Compute `entries` and `pads` (see `Batch`), then call the listener. Raises DecodeError."""
        ends: dict[int, int] = {}
        if pads:
            entries, ends = self._padded(entries, pads)
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        outputs: list[int] = []
        places: list[Place] = []
        n_rows = 0
        for entry in entries:
            n = len(entry.tokens)
            n_out = n if entry.targets is not None else entry.n_outputs
            if n_out:
                places.append((entry, n_rows, len(tokens) + n - n_out))
                n_rows += n_out
            tokens += entry.tokens
            if n == 1:
                positions.append(entry.position)
                slots.append(entry.slot)
                outputs.append(n_out)
            else:
                positions += range(entry.position, entry.position + n)
                slots += [entry.slot] * n
                outputs += [0] * (n - n_out) + [1] * n_out
        self._batch.fill(tokens, positions, slots, outputs)
        if self._threads is not None:
            self._decode_timed(self._threads, len(tokens))
        else:
            self.context.decode(self._batch)
        if self._log is not None:
            self._log.record(self.context, entries)
        for slot, end in ends.items():
            self.context.seq_rm(slot, end, None)
        if self._listener is not None:
            self._listener.decoded()
        return places, n_rows

    def _padded(
        self, entries: list[BatchEntry], pads: Mapping[int, int]
    ) -> tuple[list[BatchEntry], dict[int, int]]:
        """Return the entries with those of pads among them, and where what each padded slot holds ends.

        They repeat a neighbour's token, which keeps no further experts busy.
        """
        by_slot = {entry.slot: entry for entry in entries}
        padded: list[BatchEntry] = []
        ends: dict[int, int] = {}
        token = entries[0].tokens[-1]
        for slot in sorted({*by_slot, *pads}):
            entry = by_slot.get(slot)
            if entry is not None:
                padded.append(entry)
                token = entry.tokens[-1]
            if n := pads.get(slot):
                if entry is not None:
                    end = entry.position + len(entry.tokens)
                else:
                    last = self.context.seq_pos_max(slot)
                    end = 0 if last is None else last + 1
                padded.append(BatchEntry(NOBODY, slot, [token] * n, end))
                ends[slot] = end
        return padded, ends

    def _decode_timed(self, adaptive: AdaptiveThreads, n_tokens: int) -> None:
        """Decode, few tokens with as many threads as are quickest just now."""
        context = self.context
        n_threads = adaptive.n_threads if n_tokens <= FEW_TOKENS else context.n_threads
        if n_threads != self._n_threads:
            n_batch = context.n_threads_batch if n_threads == context.n_threads else n_threads
            context.set_n_threads(n_threads, n_batch)
            self._n_threads = n_threads
        start_s = time.monotonic()
        context.decode(self._batch)
        if n_tokens <= FEW_TOKENS:
            now_s = time.monotonic()
            adaptive.record(n_tokens, now_s - start_s, now_s)
