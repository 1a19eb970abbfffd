"""`Exchange`: one request and its response on a non-blocking socket, with the time of each piece.

It looks in the bytes only for the response's end. `client` calls it and waits for the sockets, in one
thread.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EINPROGRESS
from selectors import EVENT_READ, EVENT_WRITE

from server.loadtest.response import Head, MalformedResponse, parse_head, parse_response
from server.loadtest.target import Request, Target

OVER = 0
"""An exchange returns this instead of events to wait for when it is over."""

RECEIVE_BYTES = 1 << 16
"""One call receives at most this many bytes."""

LAST_CHUNK = b"0\r\n\r\n"
"""A chunked body without trailers ends with these bytes."""


@dataclass(slots=True)
class Capture:
    """The bytes that came back for `request`, and their times, in seconds of `time.perf_counter`.

    `pieces[i]` was received at `times[i]`. `error` is the reason if there is no whole answer.
    """

    request: Request
    started_s: float
    times: list[float] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    ended_s: float | None = None
    closed: bool = False
    """True if the server closed the connection."""
    error: str | None = None


class Exchange:
    """An exchange that its constructor opens.

    `advance` is called whenever the socket is ready for the events that it, or `begin`, last returned.
    """

    def __init__(self, target: Target, request: Request, tls: ssl.SSLContext | None) -> None:
        self.capture = Capture(request, time.perf_counter())
        self._unsent = memoryview(request.payload)
        self._head: Head | None = None
        self._n_received = 0
        self._socket = socket.socket(target.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._step: Callable[[], int] = self._handshake if tls else self._send
        self._connect_error = self._socket.connect_ex(target.address)
        if tls is not None:
            self._socket = tls.wrap_socket(
                self._socket, server_hostname=target.host, do_handshake_on_connect=False
            )

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector."""
        return self._socket.fileno()

    def begin(self) -> int:
        """Return the events to wait for first: the connection, or `OVER` if there will be none."""
        if self._connect_error in {0, EINPROGRESS}:
            return EVENT_WRITE
        return self.end(os.strerror(self._connect_error))

    def advance(self) -> int:
        """Go on as far as the socket lets; return the events to wait for next, or `OVER`."""
        try:
            return self._step()
        except (BlockingIOError, ssl.SSLWantReadError):
            return EVENT_READ
        except ssl.SSLWantWriteError:
            return EVENT_WRITE
        except (OSError, MalformedResponse) as error:
            return self.end(str(error.strerror or error) if isinstance(error, OSError) else str(error))

    def end(self, error: str | None) -> int:
        """Close the connection and note `error`; return `OVER`."""
        self.capture.error = error
        self.capture.ended_s = time.perf_counter()
        self._socket.close()
        return OVER

    def _handshake(self) -> int:
        self._raise_connect_error()
        assert isinstance(self._socket, ssl.SSLSocket)
        self._socket.do_handshake()
        self._step = self._send
        return EVENT_WRITE

    def _send(self) -> int:
        self._raise_connect_error()
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return EVENT_WRITE
        if self._unsent:
            return EVENT_WRITE
        self._step = self._receive
        return EVENT_READ

    def _raise_connect_error(self) -> None:
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def _receive(self) -> int:
        """Receive one piece; more only where TLS holds some back that the socket won't announce again."""
        while True:
            data = self._socket.recv(RECEIVE_BYTES)
            capture = self.capture
            if not data:
                capture.closed = True
                return self.end(None)
            capture.times.append(time.perf_counter())
            capture.pieces.append(data)
            self._n_received += len(data)
            if self._is_whole(data):
                return self.end(None)
            if not isinstance(self._socket, ssl.SSLSocket) or not self._socket.pending():
                return EVENT_READ

    def _is_whole(self, data: bytes) -> bool:
        """True if the response is all there. It looks at the last bytes, and only then at those before."""
        if self._head is None:
            self._head = parse_head(b"".join(self.capture.pieces))
            if self._head is None:
                return False
        if not self._head.chunked:
            length = self._head.length
            return length is not None and self._n_received >= self._head.end + length
        if len(data) < len(LAST_CHUNK):
            data = b"".join(self.capture.pieces[-len(LAST_CHUNK) :])
        if not data.endswith(LAST_CHUNK):
            return False
        return parse_response(b"".join(self.capture.pieces), closed=False).complete
