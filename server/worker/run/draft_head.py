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
"""In a step in which the head reads more tokens than these, it reads the last one of each sequence apart."""
USUAL_PAIRS = 8
"""A draft that begins with more pairs of a sequence to read than these tells nothing of what one costs: most
have those of the last draft's right guesses to read."""
_WEIGHT = 0.2
"""Weight of a new measurement in a moving average of times."""
_DISTURBED = 2.0
"""A measurement counts as at most so many times the average: another program had the core meanwhile."""

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


@dataclass(slots=True)
class _Draft:
    """The guesses for one sequence, while they are made."""

    slot: int
    position: int
    """The position, in the head's memory, of the pair that the next guess follows from."""
    n_wanted: int
    tokens: list[int]
    place: int = 0
    """The row of the last pair in the head's batch."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of a slot that the head is to read: tokens from position `first` on, and the state before each.

    `draft`: what begins with them, as the head has then seen all but what it is to guess; None: it hasn't.
    """

    slot: int
    first: int
    tokens: list[int]
    states: Rows
    draft: _Draft | None


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
        self._batch.use_embeddings(True, beside_tokens=True)
        self._features = self._batch
        """The batch that takes the served model's states: the encoder's, or the one of pairs."""
        if projects:
            self._features = TokenBatch(context.n_batch, log.width)
            self._features.use_embeddings(True)
        self._states = HiddenStates(context)
        self._held = [_Held() for _ in range(context.n_seq_max)]
        self._guess_s = self._first_s = 1e-4
        self._has_failed = False

    @property
    def guess_s(self) -> float:
        """Moving average of the seconds of one guess for all sequences."""
        return self._guess_s

    @property
    def start_s(self) -> float:
        """The seconds that a draft takes in addition, whatever its length: its first guess takes longer."""
        return max(0.0, self._first_s - self._guess_s)

    @property
    def log(self) -> HiddenStateLog:
        """The log of the served model's hidden states, which the runner fills."""
        return self._log

    def warm_up(self) -> None:
        """Guess for a text of no meaning: what crashes does so now, and times are known. It is empty then.

        Threads wait for each other at each step of a graph, so a small head may be quicker on one: the number
        is measured, too. The least times count: a load leaves a machine busy, and what seems dear isn't
        tried. Raises DecodeError.
        """
        context = self._context
        several = context.n_threads, context.n_threads_batch
        times = {}
        for n_threads in dict.fromkeys([several, (1, 1)]):
            context.set_n_threads(*n_threads)
            times[n_threads] = self._least_times()
        best = min(times, key=lambda n_threads: sum(times[n_threads]))
        context.set_n_threads(*best)
        self._first_s, self._guess_s = times[best]

    def _least_times(self) -> tuple[float, float]:
        """Return the least seconds of a draft's first guess, which needs something read, and of another."""
        first_s: list[float] = []
        guess_s: list[float] = []
        for n_tokens in (2, 1) * WARM_UPS:
            states = np.zeros((n_tokens, self._log.width), np.float32)
            draft = _Draft(0, n_tokens + self._offset, 2, [])
            start_s = self._clock_s()
            self._decode([_Pairs(0, 0, [0] * n_tokens, states, draft)])
            self._choose([draft])
            read_s = self._clock_s()
            self._guess([draft])
            self._choose([draft])
            first_s.append(read_s - start_s)
            guess_s.append(self._clock_s() - read_s)
            self._context.clear()
        return min(first_s), min(guess_s)

    def propose(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> list[list[int]]:
        """Return up to n guesses each; none for one whose states aren't there, or not read yet."""
        guesses: list[list[int]] = [[] for _ in wanted]
        self._log.rest(0)
        try:
            self._draft(wanted, guesses)
        except DecodeError as error:  # full or broken off: guesses are optional
            if not self._has_failed:
                logger.warning("the head that drafts begins anew: %s", error)
            self._has_failed = True
            self._context.clear()
            self._held = [_Held() for _ in self._held]
        return guesses

    def rest(self, n_steps: int) -> None:
        """Let the log rest, too: noting states is what a head costs that isn't asked."""
        self._log.rest(n_steps)

    def close(self, sequence: Sequence) -> None:
        """Keep what the slot holds: the next sequence there may begin alike."""

    def _draft(self, wanted: abc.Sequence[tuple[Sequence, int]], guesses: list[list[int]]) -> None:
        """Fill `guesses`, and measure what that takes. Raises DecodeError."""
        start_s = self._clock_s()
        n_read, drafts = self._read(wanted, guesses)
        if not drafts:
            return
        self._choose(drafts)
        end_s = self._clock_s()
        if n_read <= USUAL_PAIRS * len(drafts):
            self._first_s = _averaged(self._first_s, end_s - start_s)
        while drafts := [each for each in drafts if len(each.tokens) < each.n_wanted]:
            start_s = end_s
            self._guess(drafts)
            self._choose(drafts)
            end_s = self._clock_s()
            self._guess_s = _averaged(self._guess_s, end_s - start_s)

    def _read(
        self, wanted: abc.Sequence[tuple[Sequence, int]], guesses: list[list[int]]
    ) -> tuple[int, list[_Draft]]:
        """Read the pairs that the head hasn't seen.

        Return how many, and the drafts, in the order of their slots, of the sequences of which it has now
        seen all; their tokens are lists in `guesses`.
        """
        budget = min(CATCH_UP_TOKENS, self._context.n_ubatch)
        few = FEW_TOKENS
        unread: list[_Pairs] = []
        drafts: list[_Draft] = []
        for i in self._fitting(wanted):
            sequence, n_wanted = wanted[i]
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
            draft = None
            if end == len(tokens) - 1:
                few -= len(states)
                draft = _Draft(slot, end + self._offset, n_wanted, guesses[i])
                drafts.append(draft)
            unread.append(_Pairs(slot, begin, tokens[begin + 1 : end + 1], states, draft))
        if unread:
            self._decode(unread)
        return sum(len(each.tokens) for each in unread), drafts

    def _fitting(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> list[int]:
        """Return the indexes of those that have room, by slot; slots that stand in their way are emptied."""
        sizes = [(slot_of(sequence), len(sequence.tokens) + n) for sequence, n in wanted]
        held = [len(each.tokens) for each in self._held]
        chosen, forgotten = plan_cells(sizes, held, self._context.n_ctx, self._context.n_ctx_seq)
        for slot in forgotten:
            self._context.seq_rm(slot)
            self._held[slot] = _Held()
        return sorted(chosen, key=lambda i: sizes[i][0])

    def _decode(self, unread: list[_Pairs]) -> None:
        """Compute pairs, and note the places of the last ones of each draft.

        The graph of a head with an encoder makes logits of every row, and llama.cpp takes the first of them,
        as many as there are outputs: so all rows of those that draft are outputs, and come first.
        """
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        outputs: list[int] = []
        for each in sorted(unread, key=lambda each: each.draft is None):
            at, n = len(tokens), len(each.tokens)
            self._features.embeddings[at : at + n] = each.states
            tokens += each.tokens
            positions += range(each.first + self._offset, each.first + self._offset + n)
            slots += [each.slot] * n
            outputs += [int(self._projects and each.draft is not None)] * n
            if each.draft is not None:
                outputs[-1] = 1
                each.draft.place = at + n - 1
        if self._projects:
            self._project(len(tokens))
        self._batch.fill(tokens, positions, slots, outputs)
        self._context.decode(self._batch)

    def _project(self, n: int) -> None:
        """Let the encoder make the first `n` inputs of the head of those of the served model's states."""
        last = self._context.seq_pos_max(0)  # nothing is added there, but llama.cpp wants the next positions
        first = 0 if last is None else last + 1
        self._features.fill([0] * n, range(first, first + n), [0] * n, [1] * n)
        self._context.encode(self._features)
        self._batch.embeddings[:n] = self._states.rows(n)[0]

    def _choose(self, drafts: list[_Draft]) -> None:
        """Add to each draft the likeliest token after its last pair."""
        logits = self._context.logits()
        for row, each in enumerate(drafts):
            each.tokens.append(int(logits[each.place if self._projects else row].argmax()))

    def _guess(self, drafts: list[_Draft]) -> None:
        """Compute the pair of each draft's last token and the head's own state before it."""
        states = self._states.rows(self._batch.n_tokens)[0]
        for row, each in enumerate(drafts):
            self._batch.embeddings[row] = states[each.place]
            each.place = row
        n = len(drafts)
        self._batch.fill(
            [each.tokens[-1] for each in drafts],
            [each.position for each in drafts],
            [each.slot for each in drafts],
            [1] * n,
        )
        for each in drafts:
            each.position += 1
        self._context.decode(self._batch)


def _averaged(average: float, measured: float) -> float:
    return average + _WEIGHT * (min(measured, _DISTURBED * average) - average)
