"""`JsonPieces`: an answer that is there in pieces, sent as they are with others served in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SENT_BYTES = 256 << 10
"""The server turns to others after so many bytes."""


class JsonPieces(Response):
    """A JSON body of any length, which is never put together as a whole."""

    media_type = "application/json"

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        super().__init__(self._pieces[0] if len(self._pieces) == 1 else b"")
        self.headers["content-length"] = str(sum(map(len, self._pieces)))

    @classmethod
    async def of(cls, pieces: Iterable[bytes]) -> JsonPieces:
        """Return the answer once all its pieces are made, also with others served in between."""
        made: list[bytes] = []
        for piece in grouped(pieces):
            made.append(piece)
            if len(piece) >= SENT_BYTES:
                await asyncio.sleep(0)
        return cls(made)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if len(self._pieces) == 1:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # a client that reads quickly never lets `send` wait
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def grouped(pieces: Iterable[bytes], n_bytes: int = SENT_BYTES) -> Iterator[bytes]:
    """Yield the same bytes in pieces of about `n_bytes`, at least one."""
    held: list[bytes] = []
    n_held, none_yet = 0, True
    for piece in pieces:
        held.append(piece)
        n_held += len(piece)
        if n_held >= n_bytes:
            yield b"".join(held)
            held, n_held, none_yet = [], 0, False
    if held or none_yet:
        yield b"".join(held)
