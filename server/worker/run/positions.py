"""`SlotPositions`: where a slot's tokens stand, where images take fewer positions than cells.

The engine counts tokens: each has a cell of the KV cache, those of images too. With M-RoPE the embeddings of
an image share a few positions, and llama.cpp's cache is cut by positions. Pure bookkeeping: it makes of what
the engine wants, in tokens, what llama.cpp is to do, in positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from server.engine.batch import Batch, Checkpoint, Copy, MemoryChange, Relayout, Restore, Save, Trim


@dataclass(frozen=True, slots=True)
class _Image:
    end: int
    """The tokens up to its end."""
    n_saved: int
    """It takes so many positions fewer than tokens."""


class SlotPositions:
    """The images in each slot that take fewer positions than tokens. One thread."""

    def __init__(self, n_slots: int) -> None:
        self._images: list[list[_Image]] = [[] for _ in range(n_slots)]

    def position(self, slot: int, n_tokens: int) -> int:
        """Return the position after the first `n_tokens` of a slot; none of them is a part of an image."""
        images = self._images[slot]
        return (
            n_tokens - sum(image.n_saved for image in images if image.end <= n_tokens) if images else n_tokens
        )

    def note(self, slot: int, end: int, n_tokens: int, n_positions: int) -> None:
        """Note that a slot's tokens up to `end` end with an image."""
        if n_positions != n_tokens:
            self._images[slot].append(_Image(end, n_tokens - n_positions))

    def forget(self, slot: int, n_keep: int = 0) -> None:
        """Note that a slot has only its first `n_keep` tokens."""
        if self._images[slot]:
            self._images[slot] = [image for image in self._images[slot] if image.end <= n_keep]

    def placed(self, batch: Batch) -> Batch:
        """Return the batch in positions, and take its changes of slots as made."""
        if not any(self._images):
            return batch
        memory = [self._changed(change) for change in batch.memory]
        entries = [
            msgspec.structs.replace(entry, position=self.position(entry.slot, entry.position))
            if self._images[entry.slot]
            else entry
            for entry in batch.entries
        ]
        return Batch(memory, entries, batch.adapters, batch.pads, batch.rows)

    def _changed(self, change: MemoryChange) -> MemoryChange:
        match change:
            case Trim(slot=slot, n_keep=n, checkpoint=checkpoint):
                made = Trim(slot, self.position(slot, n), self._checkpoint(slot, checkpoint))
                self.forget(slot, n)
                return made
            case Copy(source=source, target=target, n_tokens=n, checkpoint=checkpoint):
                made_copy = Copy(
                    source, target, self.position(source, n), self._checkpoint(source, checkpoint)
                )
                self._images[target] = [image for image in self._images[source] if image.end <= n]
                return made_copy
            case Restore(slot=slot):  # what is kept has no images
                self.forget(slot)
                return change
            case Save() | Relayout():
                return change

    def _checkpoint(self, slot: int, checkpoint: Checkpoint | None) -> Checkpoint | None:
        if checkpoint is None or not self._images[slot]:
            return checkpoint
        n = self.position(slot, checkpoint.n_tokens)
        return Checkpoint(n, checkpoint.state, checkpoint.is_border)

    def forget_all(self, slots: Sequence[int]) -> None:
        """Note that these slots are empty."""
        for slot in slots:
            self.forget(slot)
