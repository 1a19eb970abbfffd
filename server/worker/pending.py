"""`Pending`: the requests that are being prepared, each handed on or answered exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models.errors import RequestError
from server.engine.request import EngineRequest
from server.ipc.messages import Generate, Pool
from server.worker.pooled.request import PooledRequest

Prepared = EngineRequest | PooledRequest


class PendingRequest:
    """A request between the socket and the engine."""

    __slots__ = ("adapters", "id", "open")

    def __init__(self, message: Generate | Pool) -> None:
        self.id = message.id
        adapters = message.adapters if isinstance(message, Generate) else None
        self.adapters = frozenset(adapter_id for adapter_id, _ in adapters or ())
        self.open = True
        """True until it is handed on or answered; read it without the lock to leave out work, no more."""


class Pending:
    """The requests in preparation. Any thread may call any method.

    ```
    add ──▶ open ──▶ hand_on      to the engine, which gives it its terminal event
                 └─▶ close        the caller answers: refused, cancelled, shut down
    ```

    Whoever comes second gets False and does nothing. A message that must come after some requests waits in
    `after`; the lock is held while it or a request is handed on, so nothing overtakes in between.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[str, PendingRequest] = {}
        self._waiting: list[tuple[set[PendingRequest], Callable[[], None]]] = []
        self._shut = False

    def __len__(self) -> int:
        return len(self._requests)

    def shut(self) -> None:
        """Take no more requests."""
        with self._lock:
            self._shut = True

    def add(self, message: Generate | Pool) -> PendingRequest | None:
        """Register a request; None after `shut`. Raises RequestError if one with its id is being prepared."""
        request = PendingRequest(message)
        with self._lock:
            if self._shut:
                return None
            if request.id in self._requests:
                raise RequestError(f"a request with the id '{request.id}' is running; ids must be unique")
            self._requests[request.id] = request
        return request

    def hand_on(self, request: PendingRequest, prepared: Prepared, put: Callable[[Prepared], None]) -> bool:
        """Call `put(prepared)` unless the request has been closed; True if it was called."""
        with self._lock:
            if not request.open:
                return False
            put(prepared)
            self._forget(request)
            return True

    def close(self, request: PendingRequest) -> bool:
        """Take a request out; True if the caller is to answer it."""
        with self._lock:
            if request.open:
                self._forget(request)
                return True
            return False

    def cancel(self, request_id: str) -> bool:
        """Take a request out by its id; True if it was here and the caller is to answer it."""
        with self._lock:
            request = self._requests.get(request_id)
            if request is not None:
                self._forget(request)
            return request is not None

    def close_all(self) -> list[str]:
        """Take all requests out; return their ids, which the caller is to answer."""
        with self._lock:
            requests = list(self._requests.values())
            for request in requests:
                self._forget(request)
            return [request.id for request in requests]

    def after(self, adapter_id: int, act: Callable[[], None]) -> None:
        """Call `act` once the requests that use the adapter, and are here now, have left; at once if none."""
        with self._lock:
            users = {request for request in self._requests.values() if adapter_id in request.adapters}
            if users:
                self._waiting.append((users, act))
            else:
                act()

    def _forget(self, request: PendingRequest) -> None:
        request.open = False
        del self._requests[request.id]
        for users, _ in self._waiting:
            users.discard(request)
        ready = [act for users, act in self._waiting if not users]
        self._waiting = [(users, act) for users, act in self._waiting if users]
        for act in ready:
            act()
