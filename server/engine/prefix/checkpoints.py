"""`Checkpoints`: the places to which a slot that can't be trimmed can go back. Pure.

A KV cache can be cut back to any prefix. A recurrent state can't be taken back at all, and a sliding window
has forgotten what it needs there. Both are small, so copies of them are kept: with the one after n tokens,
and the rest of the cache cut back to n, the slot goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from server.engine.batch import Checkpoint

TOKENS_MIN = 16
"""No state is kept after fewer tokens than this: they are soon computed again."""
BORDER_WORTH = 8
"""A state at the end of a turn is worth so many times as many tokens as one elsewhere: the next prompt of the
same chat shares all before it, and often nothing after it."""


class Checkpoints:
    """The checkpoints of all slots, in order of their positions; their states have at most `max_bytes`.

    They are made at the ends of turns (borders), and each `spacing` tokens. A slot to which another one's
    tokens are copied has its checkpoints too: a state counts once, however many slots have it.
    """

    def __init__(self, n_slots: int, spacing: int, max_bytes: int) -> None:
        self.n_bytes = 0
        """The states have so many bytes now."""
        self._spacing = spacing
        self.max_bytes = max_bytes
        self._held: list[list[Checkpoint]] = [[] for _ in range(n_slots)]
        self._last = [0] * n_slots
        """By slot, the position from which the spacing counts: of its last checkpoint, kept or not."""
        self._used = list(range(n_slots))
        """The slots, the one used longest ago first."""
        self._n_holders: Counter[Checkpoint] = Counter()

    def __len__(self) -> int:
        """The number of states that are kept."""
        return len(self._n_holders)

    def of(self, slot: int) -> Sequence[Checkpoint]:
        """Return the checkpoints of a slot, ascending."""
        return self._held[slot]

    def latest(self, slot: int, n_tokens: int) -> Checkpoint | None:
        """Return the last checkpoint of a slot that is at, or before, its first `n_tokens`."""
        return next((one for one in reversed(self._held[slot]) if one.n_tokens <= n_tokens), None)

    # --- where they are made -------------------------------------------------------------------------

    def chunk_end(self, slot: int, n_computed: int, borders: Iterable[int]) -> int:
        """Return the next position, after `n_computed`, at which a chunk of a prompt should end."""
        spaced = self._last[slot] + self._spacing
        if spaced <= n_computed:
            spaced = n_computed + self._spacing
        return min((border for border in borders if n_computed < border < spaced), default=spaced)

    def is_due(self, slot: int, n_computed: int, borders: Sequence[int]) -> bool:
        """Return True if the slot's state after `n_computed` tokens should be kept now."""
        if n_computed < TOKENS_MIN:
            return False
        if n_computed - self._last[slot] >= self._spacing:
            return True
        held = self._held[slot]
        return n_computed in borders and not (held and held[-1].n_tokens >= n_computed)

    def latest_to_come(self, slot: int, n_computed: int, n_tokens: int, borders: Iterable[int]) -> int:
        """Return the last place within `n_tokens` to which a slot can go back, now or after that much; or 0.

        It is computing a prompt with these borders.
        """
        held = self.latest(slot, n_tokens)
        to_come = max((border for border in borders if n_computed < border <= n_tokens), default=0)
        return max(to_come, 0 if held is None else held.n_tokens)

    # --- the books -----------------------------------------------------------------------------------

    def add(self, slot: int, checkpoint: Checkpoint) -> None:
        """Keep what a slot's state is now, and give up what is worth least beyond the bound."""
        self._last[slot] = checkpoint.n_tokens
        self._touch(slot)
        if checkpoint.n_bytes <= self.max_bytes:
            self._hold(slot, checkpoint)
            while self.n_bytes > self.max_bytes:
                self._give_up(self._least_worth(checkpoint))

    def skip(self, slot: int, n_tokens: int) -> None:
        """Note that a state could not be copied: it isn't tried again before the next position."""
        self._last[slot] = n_tokens

    def begin(self, slot: int, checkpoints: Iterable[Checkpoint], n_tokens: int) -> None:
        """Let a slot that holds `n_tokens` now have these checkpoints, as far as they lie within them."""
        held = [one for one in checkpoints if one.n_tokens <= n_tokens]
        old, self._held[slot] = self._held[slot], []
        for checkpoint in held:
            self._hold(slot, checkpoint)
        for checkpoint in old:
            self._release(checkpoint)
        last = held[-1].n_tokens if held else 0
        self._last[slot] = last if n_tokens - last < self._spacing else n_tokens
        self._touch(slot)
        while self.n_bytes > self.max_bytes:
            self._give_up(self._least_worth(None))

    def end(self, slot: int, n_tokens: int) -> None:
        """Forget a slot's checkpoints after its first `n_tokens`; 0: all of them."""
        held = self._held[slot]
        while held and held[-1].n_tokens > n_tokens:
            self._release(held.pop())
        self._last[slot] = min(self._last[slot], n_tokens)

    # --- inside --------------------------------------------------------------------------------------

    def _hold(self, slot: int, checkpoint: Checkpoint) -> None:
        self._held[slot].append(checkpoint)
        self._n_holders[checkpoint] += 1
        if self._n_holders[checkpoint] == 1:
            self.n_bytes += checkpoint.n_bytes

    def _release(self, checkpoint: Checkpoint) -> None:
        self._n_holders[checkpoint] -= 1
        if not self._n_holders[checkpoint]:
            del self._n_holders[checkpoint]
            self.n_bytes -= checkpoint.n_bytes

    def _touch(self, slot: int) -> None:
        self._used.remove(slot)
        self._used.append(slot)

    def _least_worth(self, newest: Checkpoint | None) -> Checkpoint:
        """Return the checkpoint without which least has to be computed again, but for the `newest`.

        Without one a prompt that would go on there goes on from the one before it. A slot that was used
        longer ago is less likely to be asked for again.
        """
        worth: dict[Checkpoint, float] = {}
        for age, slot in enumerate(reversed(self._used), start=1):
            before = 0
            for checkpoint in self._held[slot]:
                n_saved = checkpoint.n_tokens - before
                if checkpoint.is_border:
                    n_saved *= BORDER_WORTH
                worth[checkpoint] = max(worth.get(checkpoint, 0.0), n_saved / age)
                before = checkpoint.n_tokens
        if len(worth) > 1 and newest is not None:
            del worth[newest]
        return min(worth, key=lambda one: worth[one])

    def _give_up(self, checkpoint: Checkpoint) -> None:
        for slot, held in enumerate(self._held):
            if checkpoint in held:
                self._held[slot] = [one for one in held if one is not checkpoint]
                self._release(checkpoint)
