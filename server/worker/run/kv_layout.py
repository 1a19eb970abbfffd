"""`KVLayout`: how a context's KV cells are divided among its slots, changed while it serves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from models.errors import LlamaCppError
from models.llamacpp.context import Context
from server.worker.run.prefill_context import PrefillContext

logger = logging.getLogger("corral.worker")


class KVLayout:
    """Allocates the contexts anew and puts every slot's tokens back. One thread, the one that decodes."""

    def __init__(
        self, context: Context, prefill: PrefillContext | None, available_bytes: Callable[[], int]
    ) -> None:
        """`available_bytes` returns the host's memory that is available now: states are kept there while the
        cells are allocated."""
        self._context = context
        self._prefill = prefill
        self._available_bytes = available_bytes

    def change(self, *, unified: bool) -> set[int]:
        """Let all slots share the cells, or divide them. Returns the slots whose tokens got lost.

        Raises ContextError if llama.cpp can't allocate the cells again: then the context is closed.
        """
        start_s = time.monotonic()
        if self._prefill is not None:
            self._prefill.move_all()
        states, lost = self._states()
        for context in self._contexts():
            context.reopen(kv_unified=unified)
        for slot, state in states.items():
            try:
                self._context.state_seq_set(slot, state)
            except (LlamaCppError, MemoryError) as error:
                logger.warning("what slot %d held is computed again: %s", slot, error)
                lost.add(slot)
        logger.info(
            "requests %s the KV cache now; %d moved in %.2f s",
            "share" if unified else "have parts of",
            len(states),
            time.monotonic() - start_s,
        )
        return lost

    def _states(self) -> tuple[dict[int, memoryview], set[int]]:
        """Return the states of all slots that hold tokens, and those for which memory is too short."""
        states: dict[int, memoryview] = {}
        lost: set[int] = set()
        left_bytes = self._available_bytes()
        for slot in range(self._context.n_seq_max):
            if self._context.seq_pos_max(slot) is None:
                continue
            try:
                state = self._context.state_seq_get(slot) if left_bytes > 0 else None
            except (LlamaCppError, MemoryError) as error:
                logger.warning("what slot %d held is computed again: %s", slot, error)
                state = None
            if state is None:
                lost.add(slot)
            else:
                left_bytes -= len(state)
                states[slot] = state
        return states, lost

    def _contexts(self) -> list[Context]:
        return [self._context] if self._prefill is None else [self._context, self._prefill.context]
