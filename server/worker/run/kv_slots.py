"""`KVSlots`: changes of the slots of a llama.cpp context, and their states in the prefix store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from models.errors import LlamaCppError, RestoreError
from models.llamacpp.context import Context
from models.llamacpp.sequence_state import new_state
from server.engine.batch import Checkpoint, Copy, MemoryChange, Relayout, Restore, Save, Trim
from server.worker.prefix.file import PrefixHead
from server.worker.run.kv_layout import KVLayout
from server.worker.run.prefill_context import PrefillContext

logger = logging.getLogger("corral.worker")


class States(Protocol):
    """A source and a destination of slots' states: the `PrefixStore`."""

    def take(self, key: str) -> tuple[PrefixHead, memoryview] | None:
        """Return a checked state, for the last time; None if it isn't in memory."""

    def memory(self, n_bytes: int) -> memoryview:
        """Return memory for a state that `keep` will get."""

    def keep(self, kept: Save, first: int, state: memoryview) -> None:
        """Write the state after `kept.tokens` to disk, in the background; its memory is the store's then.

        `first`: the smallest position that the state has.
        """

    def drop(self, key: str) -> None:
        """Offer a state no more: it doesn't fit."""

    def hold_writes(self, *, hold: bool) -> None:
        """Let what waits for the disk wait on, for some seconds at most, or go on."""

    def expect(self, n_tokens: int) -> None:
        """Make memory ready, in the background, for the state of so many tokens."""


class KVSlots:
    """Changes what the slots of a context hold. One thread, the one that decodes.

    A slot is llama.cpp's sequence id. Between streams llama.cpp copies only with the next decode: until then
    the source must stay as it is.
    """

    def __init__(
        self,
        context: Context,
        states: States | None = None,
        prefill: PrefillContext | None = None,
        layout: KVLayout | None = None,
    ) -> None:
        """`layout` None: there is no `Relayout`."""
        self._context = context
        self._layout = layout
        self._states = states
        self._is_holding = False
        self._prefill = prefill
        self._n_swa = context.model.n_swa
        self._given: dict[int, tuple[str, PrefixHead, memoryview]] = {}
        """By slot, the state that is to be put there, with its key."""
        self._copies: dict[int, int] = {}
        """The slots to which a copy may still have to be made, and from which."""
        self._failed = False
        """True if the last changes ended in a RestoreError: no decode has followed them."""

    def apply(self, changes: Sequence[MemoryChange]) -> None:
        """Make the changes, in their order; a decode must follow.

        Raises RestoreError when all are made but those for which a kept state was missing or didn't fit.
        """
        if not changes:
            return
        if not self._failed:
            self._copies.clear()
        empty: set[int] = set()
        for change in changes:
            if isinstance(change, Relayout):
                empty |= self._relayout(change)
                continue
            if not self._settle(change, empty):
                continue
            if isinstance(change, Trim):
                self._trim(change, empty)
            elif isinstance(change, Copy):
                self._copy(change, empty)
            elif isinstance(change, Save):
                self.save(change)
            elif self._restore(change):
                empty.discard(change.slot)
            else:
                self._lose(change.slot, empty)
        self._failed = bool(empty)
        if empty:
            raise RestoreError("a kept prefix could not be put back; it is computed again", frozenset(empty))

    def holds(self, slot: int, n_tokens: int) -> bool:
        """True if all that the token after the first `n_tokens` attends to is there, and would be in a copy.

        Of cells that all share, the older ones of a window are given to other slots' tokens, and copies are
        made by way of a state, which leaves them out.
        """
        if not self._n_swa:
            return True
        last = self._context.seq_pos_max(slot)
        if self._is_pruned and (last is None or n_tokens < last):
            return False
        return self._has_window(slot, n_tokens)

    def _has_window(self, slot: int, n_tokens: int) -> bool:
        first = self._context.seq_pos_min(slot)
        return first is not None and first <= max(0, n_tokens - self._n_swa + 1)

    @property
    def _is_pruned(self) -> bool:
        """True if slots share cells of which a window has only its own."""
        return self._context.forgets and self._context.kv_unified

    def hold_writes(self, *, hold: bool) -> None:
        """Leave the cores to a prompt that is computed: a slot's former state is copied just before it."""
        if self._states is None:
            return
        self._states.hold_writes(hold=hold)
        if self._is_holding and not hold:
            ends = [self._context.seq_pos_max(slot) for slot in range(self._context.n_seq_max)]
            self._states.expect(1 + max(end for end in (0, *ends) if end is not None))
        self._is_holding = hold

    def save(self, kept: Save) -> None:
        """Give the store a copy of what a slot holds. A failure costs only the copy."""
        if self._states is None:
            return
        try:
            copied = self.copy_state(kept, self._states.memory)
            if copied is not None:
                self._states.keep(kept, *copied)
        except (LlamaCppError, MemoryError) as error:
            logger.warning("a prefix of %d tokens wasn't kept: %s", len(kept.tokens), error)

    def copy_state(
        self, kept: Save, memory: Callable[[int], memoryview] = new_state
    ) -> tuple[int, memoryview] | None:
        """Return the smallest position that a slot's state has, and a copy of the state.

        None: the slot doesn't hold `kept.tokens` now. Raises LlamaCppError, MemoryError.
        """
        if not self._settle(kept, set()):
            return None
        context, n_tokens = self._context, len(kept.tokens)
        last, first = context.seq_pos_max(kept.slot), context.seq_pos_min(kept.slot)
        if last is None or first is None:
            return None
        if last >= n_tokens:  # a trim is still to come
            context.seq_rm(kept.slot, n_tokens, None)
            last, first = context.seq_pos_max(kept.slot), context.seq_pos_min(kept.slot)
        if last != n_tokens - 1 or first is None:
            return None
        if context.forgets and not self._has_window(kept.slot, n_tokens):
            return None
        return self._first_saved(first, n_tokens), context.state_seq_get(kept.slot, memory)

    def checkpoint(self, slot: int) -> memoryview | None:
        """Return a copy of what can't be cut back of a slot's state; None where it can't be copied."""
        try:
            return self._context.state_seq_get(slot, partial=True)
        except (LlamaCppError, MemoryError) as error:
            logger.warning("slot %d has no way back to where it is now: %s", slot, error)
            return None

    def give(self, slot: int, key: str, head: PrefixHead, state: memoryview) -> None:
        """Take the state that a `Restore` of this slot and key, still to come, puts there."""
        self._given[slot] = key, head, state

    # --- inside ----------------------------------------------------------------------------------

    def _settle(self, change: Trim | Copy | Save | Restore, empty: set[int]) -> bool:
        """Bring what the change needs here; False if there was no room: what it changes is empty then."""
        if self._prefill is None:
            return True
        try:
            self._prefill.settle(change)
        except LlamaCppError as error:
            logger.warning("a prompt that was computed apart found no room: %s", error)
            slots = {change.source, change.target} if isinstance(change, Copy) else {change.slot}
            for slot in slots:
                self._prefill.settle(Trim(slot, 0))
                self._context.seq_rm(slot)
            empty |= slots
            return False
        return True

    def _relayout(self, change: Relayout) -> set[int]:
        """Divide the cells anew; return the slots that are empty now, also those that waited for a copy."""
        assert self._layout is not None
        uncopied = set(self._copies)
        self._copies.clear()
        for slot in uncopied:
            self._context.seq_rm(slot)
        return self._layout.change(unified=change.unified) | uncopied

    def _trim(self, change: Trim, empty: set[int]) -> None:
        if change.checkpoint is None:
            self._context.seq_rm(change.slot, change.n_keep, None)
            # Guesses that were wrong may have taken the place of the window's beginning.
            if change.n_keep and self._context.forgets and not self._has_window(change.slot, change.n_keep):
                self._lose(change.slot, empty)
        elif change.slot in empty or not self._rewind(change.slot, change.checkpoint):
            self._lose(change.slot, empty)

    def _rewind(self, slot: int, checkpoint: Checkpoint) -> bool:
        """Take a slot back to a checkpoint; False if that can't be: then anything may be there.

        A copy between streams that is still to be made would overwrite what is put there, or bring it along.
        """
        if slot in self._copies or slot in self._copies.values():
            return False
        try:
            self._context.seq_rewind(slot, checkpoint.n_tokens, checkpoint.state)
        except (LlamaCppError, MemoryError) as error:
            logger.warning("%d tokens of slot %d are computed again: %s", checkpoint.n_tokens, slot, error)
            return False
        return True

    def _lose(self, slot: int, empty: set[int]) -> None:
        """Empty a slot in which something else was to be."""
        self._context.seq_rm(slot)
        empty.add(slot)

    def _copy(self, change: Copy, empty: set[int]) -> None:
        context = self._context
        if change.source in empty:
            self._lose(change.target, empty)
            return
        if change.checkpoint is not None:
            if self._copy_back(change, change.checkpoint):
                empty.discard(change.target)
            else:
                self._lose(change.target, empty)
            return
        if self._is_pruned:
            if self._copy_window(change):
                empty.discard(change.target)
            else:
                self._lose(change.target, empty)
            return
        if context.kv_unified:
            context.seq_rm(change.target)
        else:
            self._copies[change.target] = change.source
        context.seq_cp(change.source, change.target, 0, change.n_tokens)
        empty.discard(change.target)

    def _copy_window(self, change: Copy) -> bool:
        """Share a slot's cells but for its window, which is copied; False if that can't be.

        Cells of a window that two slots have are never given to other tokens: there would soon be none left.
        """
        context, source, target = self._context, change.source, change.target
        try:
            window = context.state_seq_get(source, partial=True)
            context.seq_rm(target)
            context.seq_cp(source, target, 0, change.n_tokens)
            context.seq_rewind(target, change.n_tokens, window)
        except (LlamaCppError, MemoryError) as error:
            logger.warning("%d tokens of slot %d aren't shared: %s", change.n_tokens, source, error)
            return False
        return self._has_window(target, change.n_tokens)

    def _copy_back(self, change: Copy, checkpoint: Checkpoint) -> bool:
        """Copy what a slot held at a checkpoint; False if that can't be.

        Between streams at once, by way of the host's memory: what is put there must follow the copy.
        """
        context, source, target = self._context, change.source, change.target
        if context.kv_unified:
            context.seq_rm(target)
            context.seq_cp(source, target, 0, change.n_tokens)
        elif source in self._copies or target in self._copies.values():
            return False
        else:
            self._copies.pop(target, None)
            try:
                context.state_seq_put(target, context.state_seq_take(source))
            except (LlamaCppError, MemoryError) as error:
                logger.warning("%d tokens of slot %d aren't shared: %s", change.n_tokens, source, error)
                return False
        return self._rewind(target, checkpoint)

    def _restore(self, change: Restore) -> bool:
        """Fill a slot with a kept state; False if there is none that fits."""
        kept = self._take(change)
        if kept is None or change.slot in self._copies.values():
            return False
        if len(kept[0].tokens) > self._context.n_ctx_seq:
            return False  # only a part of it is wanted, and it finds room while slots share the cells
        try:
            self._put(change, *kept)
        except (LlamaCppError, MemoryError) as error:
            logger.warning("a kept prefix of %d tokens isn't used: %s", change.n_tokens, error)
            if self._states is not None:
                self._states.drop(change.key)
            return False
        return True

    def _take(self, change: Restore) -> tuple[PrefixHead, memoryview] | None:
        """Return the state that was given for the change, or the store's, for the last time."""
        given = self._given.get(change.slot)
        if given is not None and given[0] == change.key:
            del self._given[change.slot]
            return given[1:]
        return None if self._states is None else self._states.take(change.key)

    def _put(self, change: Restore, head: PrefixHead, state: memoryview) -> None:
        """Fill a slot. Raises LlamaCppError, and leaves anything there, if it isn't what was wanted."""
        context, slot, n_tokens = self._context, change.slot, change.n_tokens
        context.state_seq_set(slot, state)
        if context.seq_pos_max(slot) != len(head.tokens) - 1:
            raise LlamaCppError("the state ends at another position than its tokens")
        if change.checkpoint is not None:
            context.seq_rewind(slot, n_tokens, change.checkpoint.state)
        elif n_tokens < len(head.tokens) and not (
            self.holds(slot, n_tokens) and context.seq_rm(slot, n_tokens, None)
        ):
            raise LlamaCppError(f"the state can't be cut back to {n_tokens:,} tokens")

    def _first_saved(self, first: int, n_tokens: int) -> int:
        """The smallest position of a saved state: llama.cpp leaves out what lies before the window."""
        return max(first, n_tokens - self._n_swa) if self._n_swa else first
