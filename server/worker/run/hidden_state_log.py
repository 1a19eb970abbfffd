"""`HiddenStateLog`: what the served model made of each slot's latest tokens, for a head that drafts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from models.llamacpp.context import Context
from models.llamacpp.hidden_states import HiddenStates
from server.engine.batch import BatchEntry, Copy, MemoryChange
from server.placement.place import HEAD_KEPT_TOKENS

Rows = npt.NDArray[np.float32]


class HiddenStateLog:
    """The hidden states of the tokens that were computed last in each slot, by their positions. One thread.

    States that a rejected guess left are overwritten by the next tokens; until then the caller knows how far
    its sequence reaches. What a slot was given without being computed, from another slot or the disk, has
    none, but a copy of another slot's.
    """

    def __init__(self, context: Context, layers: Sequence[int] = ()) -> None:
        """`layers`: those whose inputs are the states; none: what comes before the last norm.

        Raises LlamaCppError if the model doesn't show them.
        """
        self._layers = tuple(layers)
        self._sources = {id(context): HiddenStates(context, layers)}
        self.width = self._sources[id(context)].width
        self._slots = [_SlotLog(self.width) for _ in range(context.n_seq_max)]
        self._n_resting = 0

    def watch(self, context: Context) -> None:
        """Let another context of the same model show its states, too. Raises LlamaCppError."""
        self._sources[id(context)] = HiddenStates(context, self._layers)

    def rest(self, n_decodes: int) -> None:
        """Note nothing of so many decodes to come; what was noted goes. 0: note the next one."""
        if n_decodes and not self._n_resting:
            for slot in self._slots:
                slot.clear()
        self._n_resting = n_decodes

    def record(self, context: Context, entries: Sequence[BatchEntry]) -> None:
        """Note the states that the last decode of `context` left, which was of just these entries.

        It is some ten microseconds for a token.
        """
        if self._n_resting:
            self._n_resting -= 1
            return
        parts = self._sources[id(context)].rows(sum([len(entry.tokens) for entry in entries]))
        if len(entries) == 1 and entries[0].sequence_id >= 0:
            self._slots[entries[0].slot].add(entries[0].position, entries[0].tokens, parts)
            return
        at = 0
        for entry in entries:
            n = len(entry.tokens)
            if entry.sequence_id >= 0:
                rows = [part[at : at + n] for part in parts]
                self._slots[entry.slot].add(entry.position, entry.tokens, rows)
            at += n

    def change(self, changes: Iterable[MemoryChange]) -> None:
        """Follow the changes of the slots."""
        for change in changes:
            if isinstance(change, Copy):
                self._slots[change.target].copy(self._slots[change.source], change.n_tokens)

    def states(self, slot: int, tokens: Sequence[int], first: int) -> tuple[int, Rows]:
        """Return the states of all `tokens` but the last from position `first` on, and where they begin.

        They begin later where earlier ones aren't there, and are empty where the last one isn't.
        """
        return self._slots[slot].states(tokens, first)


class _SlotLog:
    """The states of one slot: row i of `_rows` belongs to `_tokens[i]`, at position `_start` + i."""

    __slots__ = ("_rows", "_start", "_tokens", "_width")

    def __init__(self, width: int) -> None:
        self._width = width
        self._rows: Rows = np.empty((0, width), np.float32)
        self._tokens: list[int] = []
        self._start = 0

    def add(self, position: int, tokens: list[int], parts: list[Rows]) -> None:
        """Put the states of `tokens` at `position`, in place of what stood there and behind."""
        n = len(tokens)
        if n > HEAD_KEPT_TOKENS:
            cut = n - HEAD_KEPT_TOKENS
            position, tokens, parts, n = position + cut, tokens[cut:], [part[cut:] for part in parts], n - cut
        at = position - self._start
        if not 0 <= at <= len(self._tokens):
            self._start, at = position, 0
        if at + n > len(self._rows):
            at = self._make_room(at)
        rows, column = self._rows[at : at + n], 0
        for part in parts:
            end = column + part.shape[1]
            rows[:, column:end] = part
            column = end
        self._tokens[at:] = tokens

    def clear(self) -> None:
        """Have the states of no token."""
        self._tokens.clear()
        self._start = 0

    def copy(self, source: _SlotLog, n_tokens: int) -> None:
        """Have what `source` has of its first `n_tokens`."""
        n = max(0, min(len(source._tokens), n_tokens - source._start))
        self._start, self._tokens = source._start, source._tokens[:n]
        if n and len(self._rows) < n:
            self._rows = np.empty((2 * HEAD_KEPT_TOKENS, self._width), np.float32)
        self._rows[:n] = source._rows[:n]

    def states(self, tokens: Sequence[int], first: int) -> tuple[int, Rows]:
        end = len(tokens) - 1
        begin = max(first, self._start)
        if not begin <= end <= self._start + len(self._tokens):
            return end, self._rows[:0]
        held = self._tokens[begin - self._start : end - self._start]
        if held != tokens[begin:end]:
            begin = _last_difference(held, tokens[begin:end]) + begin + 1
        return begin, self._rows[begin - self._start : end - self._start]

    def _make_room(self, at: int) -> int:
        """Keep the last `HEAD_KEPT_TOKENS` rows before `at`, and return where they end."""
        if not len(self._rows):
            self._rows = np.empty((2 * HEAD_KEPT_TOKENS, self._width), np.float32)
        n_lost = max(0, at - HEAD_KEPT_TOKENS)
        if n_lost:
            self._rows[: at - n_lost] = self._rows[n_lost:at].copy()
            del self._tokens[:n_lost]
            self._start += n_lost
        return at - n_lost


def _last_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the last index at which two lists of the same length differ."""
    return next(i for i in range(len(one) - 1, -1, -1) if one[i] != other[i])
