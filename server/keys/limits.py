"""`RateLimits`: the requests, tokens and answers at the same time that each limited key has left.

Requests and tokens come back steadily, a sixtieth of a minute's each second, up to a minute's at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from models.errors import RateLimited
from server.keys.caller import Call, Caller, KeyLimits

_WEIGHT: Final = 0.2
"""A new answer's time has this weight in the moving average."""
_ASK: Final = "or ask whoever runs the server for a higher limit"


class Bucket:
    """An amount that comes back over time. More than there is can be taken; that comes back first."""

    def __init__(self, per_minute: int, clock_s: Callable[[], float]) -> None:
        self.limit = per_minute
        self._clock_s = clock_s
        self._level = float(per_minute)
        self._seen_s = clock_s()

    def change(self, per_minute: int) -> None:
        """Give it another limit; what was taken stays taken."""
        self._level = min(self.level + per_minute - self.limit, per_minute)
        self.limit = per_minute

    @property
    def level(self) -> float:
        """The amount that is there now; negative: so much is missing."""
        now_s = self._clock_s()
        self._level = min(self.limit, self._level + (now_s - self._seen_s) * self.limit / 60)
        self._seen_s = now_s
        return self._level

    def take(self, n: int) -> None:
        """Take so many."""
        self._level = self.level - n

    def wait_s(self, n: int, *, is_background: bool = False) -> float:
        """Return the seconds until there are so many; with half the limit beside them for background work."""
        wanted = min(n + self.limit / 2, max(n, self.limit)) if is_background else n
        return max(0.0, wanted - self.level) * 60 / self.limit

    @property
    def left(self) -> int:
        """The number that can be taken now."""
        return max(0, int(self.level))

    @property
    def reset_s(self) -> float:
        """The seconds until it is full, if nothing is taken."""
        return self.wait_s(self.limit)


class Allowance:
    """The rest that one key may use. Methods raise RateLimited, which says when to come back."""

    def __init__(self, name: str, limits: KeyLimits, clock_s: Callable[[], float]) -> None:
        self._name = name
        self._clock_s = clock_s
        self._limits = limits
        self.requests = _bucket(None, limits.requests_per_minute, clock_s)
        """The requests, None for no limit."""
        self.tokens = _bucket(None, limits.tokens_per_minute, clock_s)
        """The tokens of prompts and answers, None for no limit."""
        self._n_answers = 0
        self._mean_s: float | None = None

    def change(self, limits: KeyLimits) -> None:
        """Take on the limits that the key has now."""
        if limits != self._limits:
            self._limits = limits
            self.requests = _bucket(self.requests, limits.requests_per_minute, self._clock_s)
            self.tokens = _bucket(self.tokens, limits.tokens_per_minute, self._clock_s)

    def take_request(self, *, is_background: bool = False) -> None:
        """Count a request, if there may be one."""
        bucket = self.requests
        if bucket is None:
            return
        wait_s = bucket.wait_s(1, is_background=is_background)
        if wait_s > 0:
            raise RateLimited(
                f"The API key {self._name} has made its {bucket.limit:,} requests per minute; try again in "
                f"{wait_s:.1f} s, {_ASK}",
                wait_s,
            )
        bucket.take(1)

    @contextmanager
    def answering(self, call: Call) -> Iterator[None]:
        """Hold one of the key's places for answers, which a request takes once, however many it makes.

        Background work takes none.
        """
        if call.is_background:
            self._check_tokens(is_background=True)
            yield
            return
        if not call.n_answers:
            self._check_answer()
            self._n_answers += 1
        call.n_answers += 1
        begun_s = self._clock_s()
        try:
            yield
        finally:
            call.n_answers -= 1
            if not call.n_answers:
                self._n_answers -= 1
                took_s = self._clock_s() - begun_s
                mean_s = took_s if self._mean_s is None else self._mean_s
                self._mean_s = mean_s + _WEIGHT * (took_s - mean_s)

    def _check_answer(self) -> None:
        most = self._limits.streams
        if most is not None and self._n_answers >= most:
            wait_s = (self._mean_s or 1.0) / self._n_answers
            raise RateLimited(
                f"{self._n_answers} answers run for the API key {self._name}, which is its limit; "
                f"wait for one to end, {_ASK}",
                wait_s,
            )
        self._check_tokens(is_background=False)

    def _check_tokens(self, *, is_background: bool) -> None:
        if self.tokens is not None and (wait_s := self.tokens.wait_s(1, is_background=is_background)) > 0:
            raise RateLimited(
                f"The API key {self._name} has used its {self.tokens.limit:,} tokens per minute; try again "
                f"in {wait_s:.1f} s, {_ASK}",
                wait_s,
            )

    def take_prompt(self, n_tokens: int, *, is_background: bool = False) -> None:
        """Count the tokens of a prompt, if there are so many left."""
        bucket = self.tokens
        if bucket is None:
            return
        if n_tokens > bucket.limit:
            raise RateLimited(
                f"The prompt has {n_tokens:,} tokens, and the API key {self._name} may use {bucket.limit:,} "
                f"per minute: shorten the prompt, {_ASK}",
                None,
            )
        wait_s = bucket.wait_s(n_tokens, is_background=is_background)
        if wait_s > 0:
            raise RateLimited(
                f"The prompt has {n_tokens:,} tokens, and the API key {self._name} has {bucket.left:,} left "
                f"of {bucket.limit:,} per minute; try again in {wait_s:.1f} s, {_ASK}",
                wait_s,
            )
        bucket.take(n_tokens)

    def take_tokens(self, n_tokens: int) -> None:
        """Count tokens that have been made; there needn't be so many left."""
        if self.tokens is not None:
            self.tokens.take(n_tokens)


class RateLimits:
    """The allowances of all keys that have a limit. Used by one thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._by_owner: dict[str, Allowance] = {}

    def of(self, caller: Caller) -> Allowance | None:
        """Return what the caller has left, None for one without limits."""
        known = self._by_owner.get(caller.owner)
        if known is None:
            if caller.limits.is_none:
                return None
            known = self._by_owner[caller.owner] = Allowance(caller.name, caller.limits, self._clock_s)
        known.change(caller.limits)
        return known


def _bucket(old: Bucket | None, per_minute: int | None, clock_s: Callable[[], float]) -> Bucket | None:
    if per_minute is None:
        return None
    if old is None:
        return Bucket(per_minute, clock_s)
    old.change(per_minute)
    return old
