"""`SequenceGuide`: one sequence's grammar, the tokens forced on it, and the mask of its next rows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from models.errors import CorralError, RequestError
from server.worker.sampling.row_bans import RowBans
from server.worker.sampling.time_account import FOLLOWING, MASKING, TimeAccount

if TYPE_CHECKING:
    from llguidance import LLMatcher

SLOW_S = 0.001
"""A token that takes longer may have waited for a core meanwhile."""
N_EXAMINED = 64
"""So many tokens after it are timed by the thread's own clock, which takes longer to read."""


class Guide(Protocol):
    """A compiled grammar that a request's answers must follow: `EngineRequest.guide`."""

    @property
    def param(self) -> str | None:
        """The name of the request's field that it was made of, for error messages."""

    def matcher(self) -> LLMatcher:
        """Return a matcher of its own for one answer, which has seen no token."""


class SequenceGuide:
    """The state of one answer under its grammar, if it has one. One thread, but for `bans`.

    Where the grammar leaves one way only, the tokens of that way are forced: they are taken without sampling.
    They are the same, whether they are taken at once or one by one. The matcher has consumed all tokens that
    were chosen, and those in the queue. A grammar that takes too much computing ends its own answer.
    """

    __slots__ = (
        "_at_once",
        "_following",
        "_masking",
        "_n_examined",
        "_param",
        "_queue",
        "bans",
        "error",
        "matcher",
    )

    def __init__(self, guide: Guide | None, *, at_once: bool) -> None:
        """`at_once` false: each forced token needs a row of logits, as its logprob is wanted."""
        self.matcher = None if guide is None else guide.matcher()
        self.bans: Sequence[RowBans] = ()
        """The bans of each row of this step; empty while forced tokens come first."""
        self.error: CorralError | None = None
        """The sequence can't go on, for this reason."""
        self._param = None if guide is None else guide.param
        self._at_once = at_once
        self._queue: deque[int] = deque()
        """The tokens that come next."""
        self._following = TimeAccount(FOLLOWING)
        self._masking = TimeAccount(MASKING)
        self._n_examined = 0
        """The number of tokens whose time is still taken from the thread's own clock."""
        begin = time.thread_time()
        self._queue_forced()
        self._count(self._following, time.thread_time() - begin)

    @property
    def is_active(self) -> bool:
        """True if the sequence can't be sampled as any other."""
        return self.matcher is not None or bool(self._queue) or self.error is not None

    @property
    def needs_bans(self) -> bool:
        """True if the next token is the model's choice under a grammar."""
        return self.matcher is not None and not self._queue and self.error is None

    @property
    def has_forced(self) -> bool:
        """True if the next token is known."""
        return bool(self._queue)

    @property
    def is_over(self) -> bool:
        """True if the grammar allows nothing more."""
        if self.matcher is None or self._queue or self.error is not None:
            return False
        return bool(self.matcher.is_stopped())

    def take(self) -> int:
        """Return the next forced token; there is one."""
        return self._queue.popleft()

    def take_at_once(self) -> list[int]:
        """Return the forced tokens that need no rows of logits."""
        if not self._at_once or not self._queue:
            return []
        tokens = list(self._queue)
        self._queue.clear()
        return tokens

    def force(self, tokens: Sequence[int]) -> None:
        """Put `tokens` behind those that are forced already, as far as the grammar allows them."""
        if self.matcher is not None and self.error is None:
            n = self.matcher.try_consume_tokens(list(tokens))
            if n == 0:
                self.error = RequestError(
                    "the thoughts can't be ended here, as the answer's grammar has no place for their end;"
                    " raise thinking_budget_tokens, or leave it out",
                    param="thinking_budget_tokens",
                )
            tokens = tokens[:n]
        self._queue.extend(tokens)
        self._queue_forced()

    def consume(self, token: int) -> CorralError | None:
        """Take in a token that was chosen; return the error of a sequence that can't go on."""
        if self.matcher is not None:
            clock = time.thread_time if self._n_examined else time.perf_counter
            begin = clock()
            if self.matcher.consume_token(token):
                self._queue_forced()
                self._count_token(clock() - begin)
            else:
                self.fail()
        return self.error

    def count_mask(self, seconds: float) -> None:
        """Count the computing of one mask."""
        self._count(self._masking, seconds)

    def fail(self) -> None:
        """Take over the matcher's error: a limit of its own, as a rule."""
        assert self.matcher is not None
        lines = self.matcher.get_error().strip().splitlines()
        self._end(lines[0] if lines else "it has no way to go on")

    def _count_token(self, seconds: float) -> None:
        if self._n_examined:
            self._n_examined -= 1
        elif seconds > SLOW_S:
            self._n_examined = N_EXAMINED
            return
        self._count(self._following, seconds, 1 + len(self._queue))

    def _count(self, account: TimeAccount, seconds: float, n_tokens: int = 1) -> None:
        account.take(seconds, n_tokens)
        if account.is_overdrawn and self.error is None:
            self._end(f"it takes {account}")

    def _end(self, reason: str) -> None:
        self.error = RequestError(
            f"the answer can't follow its grammar any further: {reason}; make the grammar or schema simpler",
            param=self._param,
            code="constraint_failed",
        )

    def nothing_left(self) -> CorralError:
        """Return the error of a row in which every token is banned, by the grammar or besides."""
        return RequestError(
            "the answer's grammar allows only tokens that logit_bias or the model's own list bans here; "
            "leave it one of them",
            param="logit_bias",
        )

    def _queue_forced(self) -> None:
        """Queue the tokens that the grammar forces now."""
        matcher = self.matcher
        if matcher is None or self.error is not None:
            return
        while tokens := matcher.compute_ff_tokens():
            if not matcher.consume_tokens(tokens):
                break
            self._queue.extend(tokens)
        if matcher.is_error():
            self.fail()
