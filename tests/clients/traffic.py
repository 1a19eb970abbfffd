"""The exchanges of HTTP/1.1 connections, read from the bytes that pass. Pure; the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Message:
    """A request or an answer: its first line, headers with names in lower case, and the body."""

    first_line: str
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """Return the body's value; None if it is empty or no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass
class Exchange:
    """One request and what came back; `answer` is None while nothing whole has come."""

    request: Message
    answer: Message | None = None

    @property
    def method(self) -> str:
        return self.request.first_line.split(" ")[0]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.request.first_line.split(" ")[1].partition("?")[0]

    @property
    def status(self) -> int:
        """The answer's status; 0 if there was none."""
        return 0 if self.answer is None else int(self.answer.first_line.split(" ")[1])

    def events(self) -> list[dict[str, Any]]:
        """Return the objects of a streamed answer's events, or of its lines where each is JSON."""
        if self.answer is None:
            return []
        lines = self.answer.body.decode("utf-8", "replace").splitlines()
        if self.answer.headers.get("content-type") == "application/x-ndjson":
            return [json.loads(line) for line in lines]
        data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
        return [json.loads(text) for text in data if text and text != "[DONE]"]


def answered(exchanges: Iterable[Exchange]) -> str:
    """Return the routes that answered well, without numbers of stored answers, each once."""
    paths = {exchange.path.removeprefix("/v1/") for exchange in exchanges if exchange.status == 200}
    return ", ".join(sorted(path for path in paths if not path.startswith("models") and "/resp_" not in path))


@dataclass
class Connection:
    """What passes on one connection. Feed both directions; whole exchanges are in `exchanges`, in order."""

    exchanges: list[Exchange]
    _up: bytearray = field(default_factory=bytearray)
    _down: bytearray = field(default_factory=bytearray)
    _open: list[Exchange] = field(default_factory=list)

    def feed_up(self, data: bytes) -> None:
        """Take in bytes from the client."""
        self._up += data
        while (message := _take(self._up, needs_body=False)) is not None:
            exchange = Exchange(message)
            self.exchanges.append(exchange)
            self._open.append(exchange)

    def feed_down(self, data: bytes) -> None:
        """Take in bytes from the server."""
        self._down += data
        while self._open:
            exchange = self._open[0]
            message = _take(self._down, needs_body=exchange.method != "HEAD")
            if message is None:
                return
            if not message.first_line.split(" ")[1].startswith("1"):
                exchange.answer = message
                del self._open[0]

    def close(self) -> None:
        """Take what came of an answer that is cut, or that the connection's end ends."""
        head, found, rest = bytes(self._down).partition(b"\r\n\r\n")
        if self._open and found:
            message = _head(head)
            message.body = _chunks(rest)[0] if _is_chunked(message) else rest
            self._open[0].answer = message


def _head(data: bytes) -> Message:
    first, *lines = data.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Message(first, {name.strip().lower(): value.strip() for name, _, value in pairs})


def _is_chunked(message: Message) -> bool:
    return message.headers.get("transfer-encoding", "").lower() == "chunked"


def _take(buffer: bytearray, *, needs_body: bool) -> Message | None:
    """Take one whole message from the buffer's beginning; None if there is none yet."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    message, start = _head(bytes(buffer[:end])), end + 4
    if _is_chunked(message):
        message.body, n_read = _chunks(bytes(buffer[start:]))
        if not (b"\r\n" + buffer[start : start + n_read]).endswith(b"\r\n0\r\n\r\n"):
            return None
        start += n_read
    elif "content-length" in message.headers and (needs_body or not message.first_line.startswith("HTTP/")):
        size = int(message.headers["content-length"])
        if len(buffer) < start + size:
            return None
        message.body = bytes(buffer[start : start + size])
        start += size
    elif needs_body and message.first_line.split(" ")[1] not in ("100", "101", "204", "304"):
        return None  # it ends with the connection
    del buffer[:start]
    return message


def _chunks(data: bytes) -> tuple[bytes, int]:
    """Return the whole chunks at the beginning of `data`, joined, and the number of bytes that they take."""
    body, at = bytearray(), 0
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].split(b";")[0], 16)
        if len(data) < line + 4 + size:
            break
        body += data[line + 2 : line + 2 + size]
        at = line + 4 + size
        if not size:
            break
    return bytes(body), at
