"""The ways to decode a step: all at once, prompts apart, by length, or prompts in another context.

A runner has one of them for life. Where a step is two decodes, it is still one to the engine: if either
fails, the chunks of the first are taken back, and all entries come again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from models.errors import CorralError, DecodeError, LlamaCppError
from server.engine.batch import Batch, BatchEntry, Copy, Output
from server.worker.run.context_decoder import NO_PADS, ContextDecoder, Decoded
from server.worker.run.decode_outputs import DecodeOutputs
from server.worker.run.prefill_context import PrefillContext


class DecodeStrategy(Protocol):
    """Computes the entries of a batch whose changes of the KV cache are made."""

    def run(self, batch: Batch) -> list[Output | CorralError]:
        """Decode and sample: one result per entry of `batch.outputs`, in their order. Raises DecodeError."""


class PlainDecoding:
    """All entries of a step in one decode."""

    __slots__ = ("_decoder", "_outputs")

    def __init__(self, decoder: ContextDecoder, outputs: DecodeOutputs) -> None:
        self._decoder = decoder
        self._outputs = outputs

    def run(self, batch: Batch) -> list[Output | CorralError]:
        places, n_rows = self._decoder.decode(batch.entries)
        return self._outputs.read(places, n_rows, self._decoder.context)


class ApartDecoding:
    """Chunks of prompts, which have no results, then all else, in two decodes.

    On a CPU a few tokens in one batch with a chunk cost more than by themselves, as they break the sizes that
    kernels work in. The model's memory must be such that it can be trimmed.
    """

    __slots__ = ("_decoder", "_outputs")

    def __init__(self, decoder: ContextDecoder, outputs: DecodeOutputs) -> None:
        self._decoder = decoder
        self._outputs = outputs

    def run(self, batch: Batch) -> list[Output | CorralError]:
        entries, decoder = batch.entries, self._decoder
        if len(entries) > 1:
            chunks = [entry for entry in entries if entry.is_chunk]
            if chunks and len(chunks) < len(entries):
                others = [entry for entry in entries if not entry.is_chunk]
                _, (places, n_rows) = _decode_in_turn(
                    decoder, chunks, decoder, others, self._take_back, batch.pads
                )
                return self._outputs.read(places, n_rows, decoder.context)
        places, n_rows = decoder.decode(entries, batch.pads)
        return self._outputs.read(places, n_rows, decoder.context)

    def _take_back(self, entry: BatchEntry) -> None:
        self._decoder.context.seq_rm(entry.slot, entry.position, None)


class WindowDecoding:
    """Entries of each length apart, while slots have cells of their own that are enough for windows alone.

    llama.cpp divides what has unlike lengths into several passes. It finds cells for all of them before the
    first, and what a sequence is to lose by a later pass is lost in the first already, which sees it. So all
    tokens of a sequence are in one pass. While slots share the cells, a batch of no more tokens than a pass
    has is one, and is decoded as `otherwise` does.
    """

    __slots__ = ("_decoder", "_otherwise", "_outputs")

    def __init__(self, decoder: ContextDecoder, outputs: DecodeOutputs, otherwise: DecodeStrategy) -> None:
        self._decoder = decoder
        self._outputs = outputs
        self._otherwise = otherwise

    def run(self, batch: Batch) -> list[Output | CorralError]:
        context = self._decoder.context
        if context.kv_unified:
            return self._otherwise.run(batch)
        by_length: dict[int, list[BatchEntry]] = {}
        for entry in batch.entries:
            by_length.setdefault(len(entry.tokens), []).append(entry)
        found: dict[int, Output | CorralError] = {}
        for entries in by_length.values():
            places, n_rows = self._decoder.decode(entries)
            results = self._outputs.read(places, n_rows, context)
            found.update(zip((entry.sequence_id for entry, _, _ in places), results, strict=True))
        return [found[entry.sequence_id] for entry in batch.outputs]


class PrefillDecoding:
    """Chunks of prompts in the prefill context, all else in the main one.

    `otherwise` computes the steps that have no chunk for the prefill context.
    """

    __slots__ = ("_main", "_otherwise", "_outputs", "_prefill", "_prompts")

    def __init__(
        self,
        prefill: PrefillContext,
        prompts: ContextDecoder,
        main: ContextDecoder,
        outputs: DecodeOutputs,
        otherwise: DecodeStrategy,
    ) -> None:
        """`prompts` decodes in the context of `prefill`."""
        self._prefill = prefill
        self._prompts = prompts
        self._main = main
        self._outputs = outputs
        self._otherwise = otherwise

    def run(self, batch: Batch) -> list[Output | CorralError]:
        chunks = self._chunks(batch)
        if not chunks:
            return self._otherwise.run(batch)
        prefill, outputs = self._prefill, self._outputs
        slots = {entry.slot for entry in chunks}
        others = [entry for entry in batch.entries if entry.slot not in slots]
        (places, n_rows), (main_places, n_main_rows) = _decode_in_turn(
            self._prompts, chunks, self._main, others, prefill.take_back
        )
        results = outputs.read(places, n_rows, self._prompts.context)
        results += outputs.read(main_places, n_main_rows, self._main.context)
        for entry, _, _ in places:
            with suppress(LlamaCppError):  # no room now: it moves when its next token is to be computed
                prefill.move(entry.slot)
        by_id = {
            entry.sequence_id: result
            for (entry, _, _), result in zip([*places, *main_places], results, strict=True)
        }
        return [by_id[entry.sequence_id] for entry in batch.outputs]

    def _chunks(self, batch: Batch) -> list[BatchEntry]:
        """The chunks that are computed in the prefill context, which is made ready for them.

        A copy between streams is made with the next decode of the main context, so what it fills can't move.
        """
        prefill = self._prefill
        chunks: list[BatchEntry] = []
        if not batch.adapters and batch.n_tokens > len(batch.entries):
            copied = {change.target for change in batch.memory if isinstance(change, Copy)}
            for entry in batch.entries:
                if prefill.accepts(entry) and entry.slot not in copied:
                    prefill.prepare(entry)
                    chunks.append(entry)
        if prefill.holds_any:
            slots = {entry.slot for entry in chunks}
            for entry in batch.entries:
                if entry.slot not in slots:
                    self._move(entry)
        return chunks

    def _move(self, entry: BatchEntry) -> None:
        try:
            self._prefill.move(entry.slot)
        except LlamaCppError as error:
            raise DecodeError("the KV cache has no room for a prompt that was computed apart", 1) from error


def _decode_in_turn(
    first: ContextDecoder,
    chunks: list[BatchEntry],
    second: ContextDecoder,
    others: list[BatchEntry],
    take_back: Callable[[BatchEntry], None],
    pads: Mapping[int, int] = NO_PADS,
) -> tuple[Decoded, Decoded]:
    """Decode `chunks`, then `others`, if there are any, with their `pads`.

    After a DecodeError no chunk has been computed.
    """
    try:
        return first.decode(chunks), second.decode(others, pads) if others else ([], 0)
    except DecodeError:
        for entry in chunks:
            take_back(entry)
        raise
