"""Writing the parts of a response's body from plain calls, in order, without a task for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, cast

from starlette.types import Send

from server.http.direct_send import at_once


class BodyWriter:
    """A part is sent in the call that writes it, as long as the server takes it without waiting.

    A server lets us wait when the client reads too slowly. Then one task waits, parts written meanwhile are
    kept, and leave together when there is room. What is kept is bounded by the answer's own length.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._at_once = at_once(send)
        self._kept: list[bytes] = []
        self._waiting: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> bool:
        """The client has yet to make room."""
        return self._waiting is not None

    def write(self, part: bytes) -> None:
        """Raises what `send` raises, or has raised since the last call."""
        if self._waiting is not None:
            if self._waiting.done():
                self._waiting.result()
            self._kept.append(part)
            return
        if self._at_once is not None and self._at_once(part):
            return
        message = {"type": "http.response.body", "body": part, "more_body": True}
        sending = cast("Coroutine[Any, None, None]", self._send(message))
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        self._waiting = asyncio.create_task(self._send_rest(_Begun(sending, awaited)))

    async def drained(self) -> None:
        """Return when the client has made room for all that was written."""
        if self._waiting is not None:
            await self._waiting

    async def end(self, part: bytes) -> None:
        """The last part, after all others."""
        await self.drained()
        await self._send({"type": "http.response.body", "body": part, "more_body": False})

    def abandon(self) -> None:
        """Nobody reads any more: what is kept is dropped, and what `send` raises."""
        if self._waiting is not None and not self._waiting.cancel() and not self._waiting.cancelled():
            self._waiting.exception()

    async def _send_rest(self, begun: _Begun) -> None:
        await begun
        while self._kept:
            body = b"".join(self._kept)
            self._kept.clear()
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
        self._waiting = None


class _Begun:
    """The rest of a coroutine that was begun by hand and waits for `awaited`."""

    def __init__(self, coroutine: Coroutine[Any, None, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, None, None]:
        awaited = self._awaited
        while True:
            thrown: BaseException | None = None
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 — whatever it is, it is the coroutine's
                thrown = error
            try:
                awaited = self._coroutine.send(None) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration:
                return
