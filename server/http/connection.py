"""`HttpConnection`: uvicorn's HTTP protocol, where each wait for a client has an end.

uvicorn itself waits for ever for the rest of a head or of a body, and takes connections until files run out;
so one client with many half requests could keep all others away. Here each wait has an end, and a connection
beyond the limit takes the place of the one that has been idle longest, or whose body is awaited longest.

    the head              20 s, and a second more for each 500 bytes       closed; 408 if a part of it came
    the body              30 s, and a second more for each 500 bytes       408
    the next request      uvicorn's own keep-alive timer                   closed
    the client reads      300 s without room for more                      closed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from server.http import refusals
from server.http.error_response import closing_error
from server.http.open_files import MOST_CONNECTIONS
from server.http.request_head import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from server.openai.errors import ApiError

logger = logging.getLogger("corral.http")

MAX_TRAILERS = 1000
"""A request may have this many header lines, those behind a chunked body counted."""
LINGER_S = 1.0
"""A client that was refused in the middle of its request may read the answer for this many seconds."""

Part = Literal["head", "body"]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The patience of connections, in seconds, and their number."""

    head_s: float = 20.0
    """A request's head may take so long from its connection's begin, or from its own first byte."""
    body_s: float = 30.0
    """A request's body may take so long from the end of its head."""
    bytes_per_s: int = 500
    """Both may take a second more for this many bytes that have come."""
    read_s: float = 300.0
    """A client may leave an answer unread for so long."""
    n_connections: int = MOST_CONNECTIONS
    """There may be this many connections at the same time."""


def protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """Return uvicorn's `http` setting for connections with these limits."""
    # uvicorn calls it like a class and looks at it no further.
    return cast("type[asyncio.Protocol]", partial(HttpConnection, limits))


class HttpConnection(HttpToolsProtocol):
    """One client's connection."""

    def __init__(
        self,
        limits: ConnectionLimits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self.url, self.headers = b"", []
        self._reading: Part | None = None
        """The part of a request that is being read; None between requests."""
        self._n_head_bytes = 0
        self._n_unused_bytes = 0
        """The bytes since the body's latest part: sizes of chunks, and trailers."""
        self._n_trailers = 0
        self._is_refused = False
        """True once what comes is dropped, and the connection about to be closed."""
        self._fault: ApiError | None = None
        """The error of a head that isn't passed on."""
        self.idle_since_s = self.loop.time()
        """The loop's time of the last answer's end, or of the connection's begin."""
        self._wait: _Wait | None = None
        self._unread: asyncio.TimerHandle | None = None

    # --- from the transport ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's, too
        super().connection_made(transport)
        limit = self._limits.n_connections
        if len(self.connections) > limit and not self._take_place():
            self._refuse(refusals.too_many_connections(limit))
            self.transport.close()
            return
        self._wait_for("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for(None)
        self._stop_watching_reader()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves it to run out after an error

    def data_received(self, data: bytes) -> None:
        if self._is_over():
            return
        if self._reading == "body":
            self._n_unused_bytes += len(data)
        else:
            self._n_head_bytes += len(data)
        if self._wait is not None:
            self._wait.n_bytes += len(data)
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._is_over():
            self._wait_for(None)
        elif self._fault is not None:
            self._refuse(self._fault)
        elif self._reading == "head" and self._n_head_bytes > MAX_TARGET_BYTES + MAX_HEADER_BYTES:
            too_long = len(self.url) > MAX_TARGET_BYTES
            self._refuse(
                refusals.long_target(MAX_TARGET_BYTES)
                if too_long
                else refusals.long_headers(MAX_HEADER_BYTES)
            )
        elif self._reading == "body" and self._has_long_trailers:
            self._refuse(refusals.long_headers(MAX_HEADER_BYTES))
        else:
            # Between requests bytes that begin none stop uvicorn's timer, too.
            self._wait_for(self._reading or (None if self.is_answering else "head"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_watching_reader()
        self._unread = self.loop.call_later(self._limits.read_s, self._give_up_reader)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching_reader()

    # --- from the parser ---

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading, self._n_trailers, self._n_unused_bytes = "head", 0, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading == "body":
            self._n_trailers += 1  # what comes behind a body says nothing about the request (RFC 9110, 6.5.1)
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._offers_another_protocol:
            return
        self._reading, self._n_head_bytes = "body", 0
        if self._fault is not None:
            return
        if self.parser.get_http_version() != "1.1":
            self.expect_100_continue = False  # those clients don't know the answer (RFC 9110, 10.1.1)
        if self.parser.get_method() == b"CONNECT":
            self._fault = refusals.invalid_http()
            return
        names = [name for name, _ in self.headers]
        if b"host" not in names and self.parser.get_http_version() == "1.1":
            self._fault = refusals.invalid_head("it has no Host header")
            return
        if not self.url.startswith(b"/"):
            self._take_host_of_target()
        super().on_headers_complete()
        if not self.cycle.keep_alive:
            self.cycle.transport = cast("asyncio.Transport", _AnswersTransport(self.transport, self._close))

    def on_body(self, body: bytes) -> None:
        self._n_unused_bytes = 0
        if self._fault is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offers_another_protocol:
            return
        self._reading = None
        if self._fault is None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self.idle_since_s = self.loop.time()
        super().on_response_complete()

    # --- inside ---

    def _feed(self, data: bytes) -> None:
        """Parse; where a client offers another protocol, its request is served as HTTP/1 all the same.

        Some, such as Java's, offer HTTP/2 with every request. The parser takes that for the end of HTTP and
        the body for bytes of the new protocol; so a new parser gets the head without the offer, and the rest.
        """
        parts = [memoryview(data)]
        try:
            while parts:
                try:
                    self.parser.feed_data(parts[-1])
                    parts.pop()
                except httptools.HttpParserUpgrade as upgrade:
                    if not self._offers_another_protocol:  # CONNECT makes a tunnel of any connection
                        raise httptools.HttpParserError("CONNECT is for proxies") from upgrade
                    parts[-1] = parts[-1][upgrade.args[0] :]
                    parts.append(memoryview(self._head_without_offer()))
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        except httptools.HttpParserError:
            logger.warning("a request that is no valid HTTP was refused")
            self._refuse(refusals.invalid_http())

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        head += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        return b"\r\n".join([*head, b"", b""])

    @property
    def _offers_another_protocol(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    @property
    def _has_long_trailers(self) -> bool:
        is_long = self._n_unused_bytes > MAX_HEADER_BYTES
        return is_long or len(self.headers) + self._n_trailers > MAX_TRAILERS

    def _is_over(self) -> bool:
        return self._is_refused or self.transport.is_closing()

    @property
    def waits_for_body(self) -> bool:
        """True while the client is to send more of a body, which the server would read."""
        return self._reading == "body" and not self.flow.read_paused

    @property
    def is_new(self) -> bool:
        """True until the head of its first request has come."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None and not self._is_over()

    @property
    def is_answering(self) -> bool:
        """True from a request's head to the end of its answer."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _take_host_of_target(self) -> None:
        """Let the host of `GET http://host/path` count, whatever `Host` says (RFC 9112, 3.2.2)."""
        target = httptools.parse_url(self.url)
        if target.host:
            port = b":%d" % target.port if target.port else b""
            self.headers[:] = [pair for pair in self.headers if pair[0] != b"host"]
            self.headers.append((b"host", target.host + port))
        if not target.path:
            self.url = b"/" + (b"?" + target.query if target.query else b"")

    def _wait_for(self, part: Part | None) -> None:
        """Begin to wait for a part of a request, or go on with that; with None wait for nothing."""
        if self._wait is not None:
            if self._wait.part == part:
                return
            self._wait.end()
            self._wait = None
        if part is not None:
            patience_s = self._limits.head_s if part == "head" else self._limits.body_s
            self._wait = _Wait(part, self.loop, patience_s, self._limits.bytes_per_s, self._on_wait_over)

    def _on_wait_over(self) -> None:
        wait = self._wait
        assert wait is not None
        if self.flow.read_paused or (wait.part == "head" and self.is_answering):
            wait.begin()  # it is the server that doesn't read
            return
        self._wait = None
        if wait.part == "head" and not self._n_head_bytes:
            self.transport.close()
        else:
            self._refuse(refusals.late_request(wait.part))

    def _refuse(self, error: ApiError) -> None:
        """Answer with the error where no answer has begun, and close the connection.

        The client may be sending still: if its bytes were left unread, the system would reset the connection,
        and the answer would be lost. So they are read for a while, and dropped.
        """
        self._wait_for(None)
        self._is_refused = True
        has_begun = self.is_answering and (self.cycle.response_started or bool(self.pipeline))
        if self.is_answering:  # what the application does for it ends
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not has_begun:
            self.transport.write(closing_error(error, self.url, self.headers))
            self._end_writing()
        self._linger()

    def _close(self) -> None:
        """Close the connection behind an answer, which may have come before the request's end."""
        if self._reading is None or self._is_over():
            self.transport.close()
            return
        self._wait_for(None)
        self._is_refused = True
        self._end_writing()
        self._linger()

    def _end_writing(self) -> None:
        """Tell the client that nothing more comes; under TLS only the connection's end does."""
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _linger(self) -> None:
        self.flow.resume_reading()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _take_place(self) -> bool:
        """Close the connection that has been idle longest, or else one whose body doesn't come to an end.

        False if every one has a whole request.
        """
        others = [other for other in self.connections if isinstance(other, HttpConnection)]
        others.remove(self)
        waiting = [other for other in others if not other.is_answering]
        waiting = waiting or [other for other in others if other.waits_for_body]
        if not waiting:
            return False
        victim = min(waiting, key=lambda other: other.idle_since_s)
        logger.debug("over %d connections: the one idle longest is closed", self._limits.n_connections)
        self.connections.discard(victim)
        victim.transport.abort()
        return True

    def _give_up_reader(self) -> None:
        logger.warning("a client has read nothing for %.0f s; its connection is closed", self._limits.read_s)
        self.transport.abort()

    def _stop_watching_reader(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class _AnswersTransport:
    """The transport as an answer sees it, with another way to close it."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Wait:
    """A wait for a part of a request: `give_up` is called when it has taken too long for its bytes."""

    def __init__(
        self,
        part: Part,
        loop: asyncio.AbstractEventLoop,
        patience_s: float,
        bytes_per_s: int,
        give_up: Callable[[], None],
    ) -> None:
        self.part = part
        self.n_bytes = 0
        """The bytes of the part that have come."""
        self._loop = loop
        self._patience_s = patience_s
        self._bytes_per_s = bytes_per_s
        self._give_up = give_up
        self.begin()

    def begin(self) -> None:
        """Begin to count time and bytes, now."""
        self.n_bytes = 0
        self._begun_s = self._loop.time()
        self._timer = self._loop.call_later(self._patience_s, self._look)

    def end(self) -> None:
        """Give up nothing any more."""
        self._timer.cancel()

    def _look(self) -> None:
        end_s = self._begun_s + self._patience_s + self.n_bytes / self._bytes_per_s
        if self._loop.time() < end_s:
            self._timer = self._loop.call_at(end_s, self._look)
        else:
            self._give_up()
