"""`HeadProposer`: a head, trained for the served model, that guesses from its hidden states.

Such a head has one layer. It sees a token and the state that the served model had one token before, and
guesses the token after; for further guesses it takes its own state in place of the model's. There are heads
in files of their own (EAGLE-3, whose states are the inputs of three layers, projected first), and such as are
layers of the model's own file (MTP, whose state is what comes before the last norm).
"""

from __future__ import annotations

import logging
import time
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.errors import DecodeError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.hidden_states import HiddenStates
from server.engine.prefix.radix_tree import common_prefix
from server.engine.sequence import Sequence
from server.worker.run.draft_cells import plan_cells
from server.worker.run.draft_model import slot_of
from server.worker.run.hidden_state_log import HiddenStateLog

logger = logging.getLogger("corral.worker")

CATCH_UP_TOKENS = 512
"""The head reads at most this many tokens of the served model's per step."""
WARM_UPS = 8
"""A new head guesses so many times for nobody."""
FEW_TOKENS = 32
"""A step in which the head reads more tokens than these tells nothing of what a draft costs."""
_WEIGHT = 0.2
"""Weight of a new measurement in a moving average of times."""

Rows = npt.NDArray[np.float32]


@dataclass
class _Held:
    """The pairs in the head's memory for one slot: each a token, with the state before it.

    `tokens` begin with the one at position `start`, whose state belongs to the first pair's token.
    """

    start: int = 0
    tokens: list[int] = field(default_factory=list)

    def n_pairs_of(self, tokens: list[int]) -> int:
        """Return how many of the pairs are those of a sequence of `tokens`."""
        return max(0, common_prefix(self.tokens, tokens, len(self.tokens), self.start) - 1)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of a slot that the head is to read: tokens from position `first` on, and the state before each.

    `is_ready`: with them it has seen all but what it is to guess.
    """

    slot: int
    first: int
    tokens: list[int]
    states: Rows
    is_ready: bool


class HeadProposer:
    """Proposes the likeliest next tokens by the head, for all sequences in one batch per guess.

    It keeps a KV cache of its own with one sequence per slot of the served model. One thread.
    """

    def __init__(
        self,
        context: Context,
        log: HiddenStateLog,
        *,
        projects: bool,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`context` is the head's, `log` of the served model. `projects`: the states pass the head's encoder
        first, and a pair has the position of its state, not of its token."""
        self._context = context
        self._log = log
        self._clock_s = clock_s
        self._projects = projects
        self._offset = 0 if projects else 1
        self._batch = TokenBatch(context.n_batch, context.model.n_embd_out)
        self._features = TokenBatch(context.n_batch, log.width) if projects else None
        self._states = HiddenStates(context)
        self._held = [_Held() for _ in range(context.n_seq_max)]
        self._guess_s = self._start_s = 1e-4
        self._has_failed = False

    @property
    def guess_s(self) -> float:
        """Moving average of the seconds of one guess for all sequences."""
        return self._guess_s

    @property
    def start_s(self) -> float:
        """Moving average of the seconds that a draft takes in addition, whatever its length."""
        return self._start_s

    @property
    def log(self) -> HiddenStateLog:
        """The log of the served model's hidden states, which the runner fills."""
        return self._log

    def warm_up(self) -> None:
        """Guess for a text of no meaning: what crashes does so now, and times are known. It is empty then.

        The least times count: a load leaves a machine busy, and what seems dear isn't tried. Raises
        DecodeError.
        """
        read_s: list[float] = []
        guess_s: list[float] = []
        for _ in range(WARM_UPS):
            for n_tokens in (2, 1):
                guesses: list[list[int]] = [[]]
                start_s = self._clock_s()
                states = np.zeros((n_tokens, self._log.width), np.float32)
                places = self._decode([_Pairs(0, 0, [0] * n_tokens, states, is_ready=True)])
                states = self._choose(guesses, [0], places)
                read_s.append(self._clock_s() - start_s)
                start_s = self._clock_s()
                self._batch.clear()
                self._batch.add(guesses[0][0], n_tokens + self._offset, 0, True)
                self._run(states)
                self._choose(guesses, [0], [0])
                guess_s.append(self._clock_s() - start_s)
                self._context.clear()
        self._guess_s = min(guess_s)
        self._start_s = max(0.0, min(read_s) - self._guess_s)

    def propose(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> list[list[int]]:
        """Return up to n guesses each; none for one whose states aren't there, or not read yet."""
        guesses: list[list[int]] = [[] for _ in wanted]
        try:
            start_s = self._clock_s()
            n_read, ready, places = self._read(wanted)
            if not n_read:
                return guesses
            states = self._choose(guesses, ready, places)
            read_s = self._clock_s() - start_s
            if n_read <= FEW_TOKENS:
                self._start_s += _WEIGHT * (max(0.0, read_s - self._guess_s) - self._start_s)
            while True:
                kept = [k for k, i in enumerate(ready) if len(guesses[i]) < wanted[i][1]]
                if not kept:
                    return guesses
                ready, states = [ready[k] for k in kept], states[kept]
                start_s = self._clock_s()
                self._guess(wanted, guesses, ready, states)
                states = self._choose(guesses, ready, list(range(len(ready))))
                self._guess_s += _WEIGHT * (self._clock_s() - start_s - self._guess_s)
        except DecodeError as error:  # full or broken off: guesses are optional
            if not self._has_failed:
                logger.warning("the head that drafts begins anew: %s", error)
            self._has_failed = True
            self._context.clear()
            self._held = [_Held() for _ in self._held]
        return guesses

    def close(self, sequence: Sequence) -> None:
        """Keep what the slot holds: the next sequence there may begin alike."""

    def _read(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> tuple[int, list[int], list[int]]:
        """Read the pairs that the head hasn't seen.

        Return how many, the indexes in `wanted` of sequences of which it has now seen all, in the order of
        their slots, and the places of their last pairs in the batch.
        """
        budget = min(CATCH_UP_TOKENS, self._context.n_ubatch)
        few = FEW_TOKENS
        unread: list[_Pairs] = []
        ready: list[int] = []
        for i in self._fitting(wanted):
            sequence = wanted[i][0]
            slot, tokens = slot_of(sequence), sequence.tokens
            if not budget:
                break
            held = self._held[slot]
            n_pairs = held.n_pairs_of(tokens)
            first = min(held.start + n_pairs, len(tokens) - 2) if n_pairs else 0
            begin, states = self._log.states(slot, tokens, first)
            if not len(states):
                continue
            if begin > first or not n_pairs:  # states in between are gone: it forgets what came before them
                self._context.seq_rm(slot)
                held.start = begin
            else:
                self._context.seq_rm(slot, begin + self._offset, None)
            if len(states) > max(few, 1):  # the last of many is read by itself: all would be outputs
                states = states[:-1]
            states = states[:budget]
            budget -= len(states)
            end = begin + len(states)
            held.tokens = tokens[held.start : end + 1]
            is_ready = end == len(tokens) - 1
            unread.append(_Pairs(slot, begin, tokens[begin + 1 : end + 1], states, is_ready))
            if is_ready:
                few -= len(states)
                ready.append(i)
        return sum(len(each.tokens) for each in unread), ready, self._decode(unread)

    def _fitting(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> list[int]:
        """Return the indexes of those that have room, by slot; slots that stand in their way are emptied."""
        sizes = [(slot_of(sequence), len(sequence.tokens) + n) for sequence, n in wanted]
        held = [len(each.tokens) for each in self._held]
        chosen, forgotten = plan_cells(sizes, held, self._context.n_ctx, self._context.n_ctx_seq)
        for slot in forgotten:
            self._context.seq_rm(slot)
            self._held[slot] = _Held()
        return sorted(chosen, key=lambda i: sizes[i][0])

    def _projected(self, features: list[Rows]) -> Rows:
        """Return the states that the head takes, of those of the served model."""
        rows = features[0] if len(features) == 1 else np.concatenate(features)
        if self._features is None:
            return rows
        n, batch = len(rows), self._features
        last = self._context.seq_pos_max(0)  # nothing is added there, but llama.cpp wants the next positions
        batch.clear()
        batch.add_many([0] * n, 0 if last is None else last + 1, 0, output_last=True, output_all=True)
        batch.embeddings[:n] = rows
        batch.use_embeddings(True)
        self._context.encode(batch)
        return self._states.rows(n)[0].copy()

    def _decode(self, unread: list[_Pairs]) -> list[int]:
        """Compute pairs; return the places in the batch of the last ones of slots that are ready.

        The graph of a head with an encoder makes logits of every row, and llama.cpp takes the first of them,
        as many as there are outputs: so all rows of those that are ready are outputs, and come first.
        """
        if not unread:
            return []
        unread = sorted(unread, key=lambda each: not each.is_ready)
        states = self._projected([each.states for each in unread])
        self._batch.clear()
        places = []
        for each in unread:
            end = self._batch.add_many(
                each.tokens,
                each.first + self._offset,
                each.slot,
                output_last=each.is_ready,
                output_all=each.is_ready and self._projects,
            )
            if each.is_ready:
                places.append(end)
        self._run(states)
        return places

    def _run(self, states: Rows) -> None:
        batch = self._batch
        batch.embeddings[: batch.n_tokens] = states
        batch.use_embeddings(True, beside_tokens=True)
        self._context.decode(batch)

    def _choose(self, guesses: list[list[int]], ready: list[int], places: list[int]) -> Rows:
        """Add the likeliest token of each of `ready`, whose places in the batch are `places`; return the
        head's states for the next guesses."""
        if not ready:
            return np.empty((0, self._batch.embeddings.shape[1]), np.float32)
        logits = self._context.logits()
        rows = logits[places] if self._projects else logits
        for i, best in zip(ready, rows.argmax(axis=1), strict=True):
            guesses[i].append(int(best))
        states: Rows = self._states.rows(self._batch.n_tokens)[0][places]
        return states

    def _guess(
        self,
        wanted: abc.Sequence[tuple[Sequence, int]],
        guesses: list[list[int]],
        ready: list[int],
        states: Rows,
    ) -> None:
        """Compute the last guess of each of `ready`, which are in ascending order of their slots."""
        self._batch.clear()
        for i in ready:
            sequence = wanted[i][0]
            position = len(sequence.tokens) - 2 + len(guesses[i]) + self._offset
            self._batch.add(guesses[i][-1], position, slot_of(sequence), True)
        self._run(states)
