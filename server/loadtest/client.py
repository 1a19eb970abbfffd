"""`LoadClient`: several requests at once from one thread that only sends, receives and notes times."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop

from server.clients.trust import trust
from server.loadtest.exchange import OVER, Capture, Exchange
from server.loadtest.target import Request, Target

CHECK_EVERY_S = 1.0
"""The client looks for overdue requests once in this many seconds."""


@dataclass(slots=True)
class Lane:
    """Requests sent one after another, each when the one before has ended.

    Several lanes may share an iterator: as many requests are then under way at any time. The first is sent
    `start_s` seconds after the load's start.
    """

    requests: Iterator[Request]
    start_s: float = 0.0

    @classmethod
    def of(cls, *requests: Request, start_s: float = 0.0) -> Lane:
        """Return a lane with these requests."""
        return cls(iter(requests), start_s)


class LoadClient:
    """Sends loads to `target`; calls `on_end` with each exchange that is over, from within the load."""

    def __init__(
        self,
        target: Target,
        on_end: Callable[[Capture], None] | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        self._target = target
        self._on_end = on_end
        self._timeout_s = timeout_s
        self._tls = trust(target.ca) if target.tls else None
        self._running: dict[Exchange, Lane] = {}
        self._captures: list[Capture] = []
        self._check_at_s = 0.0

    def run(self, lanes: Iterable[Lane]) -> list[Capture]:
        """Run the lanes to their ends; return all captures in the order in which they ended.

        An exchange that fails or takes longer than the timeout has the reason in `error`; its lane goes on.
        An interruption (KeyboardInterrupt) closes all connections.
        """
        self._captures = []
        self._check_at_s = time.perf_counter() + CHECK_EVERY_S
        waiting = [(lane.start_s, number, lane) for number, lane in enumerate(lanes)]
        heapify(waiting)
        began = time.perf_counter()
        with selectors.DefaultSelector() as selector:
            try:
                while waiting or self._running:
                    while waiting and waiting[0][0] <= time.perf_counter() - began:
                        self._start_next(heappop(waiting)[2], selector)
                    due_s = waiting[0][0] + began - time.perf_counter() if waiting else CHECK_EVERY_S
                    self._wait(selector, min(max(due_s, 0.0), CHECK_EVERY_S))
            finally:
                for exchange in self._running:
                    exchange.end("interrupted")
                self._running.clear()
        return self._captures

    def _start_next(self, lane: Lane, selector: selectors.BaseSelector) -> None:
        """Send the lane's next request; one that fails at once makes room for the one after it."""
        for request in lane.requests:
            exchange = Exchange(self._target, request, self._tls)
            events = exchange.begin()
            if events != OVER:
                self._running[exchange] = lane
                selector.register(exchange, events, exchange)
                return
            self._note(exchange.capture)

    def _wait(self, selector: selectors.BaseSelector, timeout_s: float) -> None:
        for key, _ in selector.select(timeout_s):
            exchange: Exchange = key.data
            descriptor = exchange.fileno()
            events = exchange.advance()
            if events == OVER:
                selector.unregister(descriptor)
                self._over(exchange, selector)
            elif events != key.events:
                selector.modify(exchange, events, exchange)
        now = time.perf_counter()
        if now >= self._check_at_s:
            self._check_at_s = now + CHECK_EVERY_S
            self._end_overdue(now - self._timeout_s, selector)

    def _end_overdue(self, limit: float, selector: selectors.BaseSelector) -> None:
        for exchange in [one for one in self._running if one.capture.started_s < limit]:
            selector.unregister(exchange)
            exchange.end(f"no end after {self._timeout_s:.0f} s")
            self._over(exchange, selector)

    def _over(self, exchange: Exchange, selector: selectors.BaseSelector) -> None:
        lane = self._running.pop(exchange)
        self._note(exchange.capture)
        self._start_next(lane, selector)

    def _note(self, capture: Capture) -> None:
        self._captures.append(capture)
        if self._on_end is not None:
            self._on_end(capture)


def at_once(requests: Sequence[Request]) -> list[Lane]:
    """Return lanes that send all requests at the same moment."""
    return [Lane.of(request) for request in requests]


def concurrent(requests: Sequence[Request], n: int) -> list[Lane]:
    """Return lanes that keep `n` of the requests under way at any time."""
    shared = iter(requests)
    return [Lane(shared) for _ in range(min(n, len(requests)))]
