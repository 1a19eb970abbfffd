"""`FrameConnection`: one end of a socket of frames, which passes on each message; `WorkerConnection`.

A protocol rather than a stream reader: no task has to wake between a token's arrival and its way to the
client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from server.ipc.frames import HEADER, FrameError, frame_length

M = TypeVar("M")


class FrameReader(Generic[M]):
    """Cuts bytes that come in any pieces into frames, and calls `take(message)` for each, in order.

    `decode` makes a message of a payload, or raises FrameError.
    """

    __slots__ = ("_decode", "_held", "_take", "_wanted")

    def __init__(self, take: Callable[[M], None], decode: Callable[[bytes], M]) -> None:
        self._take = take
        self._decode = decode
        self._held = bytearray()
        self._wanted = HEADER.size
        """`_held` is parsed again once it has this many bytes."""

    def feed(self, data: bytes) -> None:
        """Parse more bytes.

        Raises FrameError, after the frames before it, for a frame that is too long or doesn't decode.
        """
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return
            data = bytes(self._held)
            self._held.clear()
        start, n_bytes = 0, len(data)
        self._wanted = HEADER.size
        while n_bytes - start >= HEADER.size:
            begin = start + HEADER.size
            end = begin + frame_length(data, start)
            if end > n_bytes:
                self._wanted = end - start
                break
            self._take(self._decode(data[begin:end]))
            start = end
        if start < n_bytes:
            self._held += data[start:]


TURN_BYTES = 64 << 10
"""After so many bytes the event loop turns to others: they hold a few thousand logprobs."""


class FrameConnection(asyncio.Protocol, Generic[M]):
    """Calls `take` with each message that `decode` makes of a frame.

    `closed` is done once nothing comes any more, whichever end closed: its result is the error in the
    other end's frames, or None.
    """

    def __init__(self, take: Callable[[M], None], decode: Callable[[bytes], M]) -> None:
        self.closed: asyncio.Future[FrameError | None] = asyncio.get_running_loop().create_future()
        self._reader = FrameReader(take, decode)
        self._transport: asyncio.Transport | None = None
        self._n_fed = 0
        """The bytes parsed since the loop has last turned to others on our behalf."""
        self._held: deque[bytes] = deque()
        """Bytes to be parsed in turns to come. While there are any, no more are read."""

    @property
    def open(self) -> bool:
        """True while frames can be written."""
        return self._transport is not None and not self._transport.is_closing() and not self.closed.done()

    def write(self, *parts: bytes | memoryview) -> None:
        """Send a frame without waiting; what the other end hasn't read yet is buffered. Only while `open`."""
        assert self._transport is not None
        for part in parts:
            self._transport.write(part)

    def close(self) -> None:
        """Close the connection; harmless when repeated."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it without sending what is buffered; harmless when repeated."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def n_unsent_bytes(self) -> int:
        """The bytes that were written and that the other end hasn't read yet, as far as they are here."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        if self._held or self._n_fed + len(data) > TURN_BYTES:
            self._hold(data)
        else:
            self._n_fed += len(data)
            self._feed(data)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        while self._held:
            self._feed(self._held.popleft())
        if not self.closed.done():
            self.closed.set_result(None)

    # --- inside ---

    def _hold(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._held:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._held.extend(data[start : start + TURN_BYTES] for start in range(0, len(data), TURN_BYTES))

    def _next_turn(self) -> None:
        if not self._held:  # the connection was lost meanwhile
            return
        assert self._transport is not None
        data = self._held.popleft()
        self._n_fed = len(data)
        self._feed(data)
        if self._held:
            asyncio.get_running_loop().call_soon(self._next_turn)
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        if self.closed.done():
            return  # after a broken frame bytes mean nothing
        try:
            self._reader.feed(data)
        except FrameError as error:
            self.closed.set_result(error)
            self.close()


class WorkerConnection(FrameConnection[bytes]):
    """The API process's end of a worker's socket. `take` gets payloads: not all have to be decoded here.

    It raises FrameError for one that doesn't decode.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        super().__init__(take, bytes)
