"""`Turns`: whose text is next, among requests for vectors of several owners. Pure; no clock.

Each owner's requests take turns, and of the owners it is that with the fewest tokens computed. Work for idle
times has books of its own: whoever has some there is nobody to those who have a request now.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from server.engine.request import IDLE_PRIORITY
from server.engine.scheduling.fair_share import FairShare
from server.worker.pooled.request import PooledRequest


class Live(Protocol):
    """A request that has its turns."""

    @property
    def request(self) -> PooledRequest: ...


T = TypeVar("T", bound=Live)


class Turns:
    """The owners of live requests, and what was computed for them."""

    def __init__(self) -> None:
        self._shares, self._idle_shares = FairShare(), FairShare()
        self._turn = 0
        """The number of steps so far: turns go on from step to step."""

    def shares_of(self, request: PooledRequest) -> FairShare:
        """Return the books of a request's kind: idle work's, or the others'."""
        return self._idle_shares if request.priority >= IDLE_PRIORITY else self._shares

    def is_full_for(self, request: PooledRequest, limit: int) -> bool:
        """Return True if a new request finds `limit` waiting ones, and its owner has its part of them.

        Idle work is nothing to others.
        """
        shares = self.shares_of(request)
        counted = [shares] if shares is self._shares else [self._shares, self._idle_shares]
        n_waiting = sum(
            books.n_live(owner) - books.n_running(owner) for books in counted for owner in books.owners
        )
        if n_waiting < limit:
            return False
        n_own = shares.n_live(request.owner) - shares.n_running(request.owner)
        return n_own >= limit // len({*shares.owners, request.owner})

    def check(self, live: Sequence[tuple[PooledRequest, bool]]) -> None:
        """Raise AssertionError if the books have other requests than these; True: it has begun."""
        for books in (self._shares, self._idle_shares):
            mine = [(request.owner, begun) for request, begun in live if self.shares_of(request) is books]
            n_live = Counter(owner for owner, _ in mine)
            n_begun = Counter(owner for owner, begun in mine if begun)
            assert {owner: books.n_live(owner) for owner in books.owners} == n_live, "an owner is miscounted"
            assert all(books.n_running(owner) == n_begun[owner] for owner in n_live), (
                "begun ones are miscounted"
            )

    def of_step(self, waiting: Sequence[T]) -> StepTurns[T]:
        """Return the turns of one step between requests of the same priority, the oldest first."""
        first = self._turn % len(waiting)
        self._turn += 1
        return StepTurns([*waiting[first:], *waiting[:first]], self.shares_of(waiting[0].request))


class StepTurns(Iterator[T]):
    """Yields whoever is next, and not again unless `took` says that it has given a text and has more."""

    def __init__(self, waiting: Sequence[T], shares: FairShare) -> None:
        self._shares = shares
        self._queues: dict[str, deque[T]] = {}
        for turn in waiting:
            self._queues.setdefault(turn.request.owner, deque()).append(turn)

    def __next__(self) -> T:
        if not self._queues:
            raise StopIteration
        owner = min(self._queues, key=self._shares.used)
        queue = self._queues[owner]
        turn = queue.popleft()
        if not queue:
            del self._queues[owner]
        return turn

    def took(self, turn: T, n_tokens: int, *, has_more: bool) -> None:
        """Note that a request has given a text of so many tokens, and let it wait for its next turn."""
        owner = turn.request.owner
        self._shares.count(owner, n_tokens)
        if has_more:
            self._queues.setdefault(owner, deque()).append(turn)
