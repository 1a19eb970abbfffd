"""`ImageStep`: computes an image of a prompt: encoded by the projector, then decoded by the model."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import cast

from models.errors import CorralError, DecodeError, LlamaCppError
from models.llamacpp.context import Context
from models.llamacpp.projector import ImageChunk, Projector
from server.engine.batch import BatchEntry, Output
from server.worker.run.context_decoder import DecodeListener
from server.worker.run.positions import SlotPositions

logger = logging.getLogger("corral.worker")


class ImageStep:
    """Computes one image at a time in the context of all slots. One thread, the one that decodes."""

    def __init__(
        self,
        projector: Projector,
        context: Context,
        positions: SlotPositions,
        listener: DecodeListener | None = None,
    ) -> None:
        self._projector = projector
        self._context = context
        self._positions = positions
        self._listener = listener

    def compute(self, entry: BatchEntry, n_before: int) -> Output | CorralError:
        """Compute an image's entry, whose position counts positions; `n_before` tokens come before it.

        An error in the result's place has emptied the slot. Raises DecodeError, status 1: there was no room,
        and the slot is as it was.
        """
        assert entry.image is not None
        if self._listener is not None:
            self._listener.flush()
        chunk = cast("ImageChunk", entry.image.content)
        try:
            embeddings = self._projector.encode(chunk)
            self._projector.decode(self._context, chunk, embeddings, entry.position, entry.slot)
        except DecodeError as error:
            if error.status != 1:
                raise
            if self._context.seq_rm(entry.slot, entry.position, None):
                raise
            return self._failed(entry, error)
        except LlamaCppError as error:
            return self._failed(entry, error)
        n = entry.image.n_tokens
        self._positions.note(entry.slot, n_before + n, n, chunk.n_positions)
        return Output([])

    def take_back(self, entry: BatchEntry, n_before: int) -> bool:
        """Forget an image that was computed just now; False if the slot had to be emptied for it."""
        whole = self._context.seq_rm(entry.slot, entry.position, None)
        if not whole:
            self._context.seq_rm(entry.slot)
        self._positions.forget(entry.slot, n_before if whole else 0)
        return whole

    def _failed(self, entry: BatchEntry, error: LlamaCppError) -> CorralError:
        logger.warning("an image isn't computed: %s", error)
        with suppress(LlamaCppError):
            self._context.seq_rm(entry.slot)
        self._positions.forget(entry.slot)
        return LlamaCppError(f"the image can't be computed: {error.message}")
