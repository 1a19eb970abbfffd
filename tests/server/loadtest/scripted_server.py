"""A server on loopback that answers each connection with scripted bytes, in pieces and with pauses.

`python -m tests.server.loadtest.scripted_server PORT` runs a small OpenAI until it is interrupted.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Piece = bytes | float
"""Bytes to send, or seconds to wait."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """One request. `body` is None without content."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class ScriptedServer:
    """`script` gives the answer's pieces; `hold` keeps connections open after an answer."""

    script: Callable[[Received], Iterable[Piece]]
    hold: bool = False
    received: list[Received] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, listener: socket.socket) -> None:
        """Answer connections, each in a thread of its own, until the listener is shut."""
        threads: list[threading.Thread] = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._answer, args=(connection,)))
            threads[-1].start()
        self._stopped.set()
        for thread in threads:
            thread.join()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            request = read_request(connection)
            if request is None:
                return
            with self._lock:
                self.received.append(request)
            self._count(1)
            left = True
            try:
                for piece in self.script(request):
                    if isinstance(piece, float):
                        time.sleep(piece)
                        continue
                    if left and piece.endswith(LAST):  # before the client can know that it is over
                        self._count(-1)
                        left = False
                    connection.sendall(piece)
            except OSError:
                pass  # the client has hung up
            if left:
                self._count(-1)
            if self.hold:
                self._stopped.wait()

    def _count(self, change: int) -> None:
        with self._lock:
            self._at_once += change
            self.most_at_once = max(self.most_at_once, self._at_once)


def read_request(connection: socket.socket) -> Received | None:
    """One request; None if the connection ends before it does."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Received(method, path, headers, json.loads(body) if body else None)


@contextmanager
def serving(script: Callable[[Received], Iterable[Piece]], *, hold: bool = False) -> Iterator[ScriptedServer]:
    """Run a scripted server for as long as the block runs."""
    server = ScriptedServer(script, hold)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: Mapping[str, Any] | str) -> bytes:
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


def plain(status: str, value: Any) -> bytes:
    """A whole JSON answer with a Content-Length."""
    body = json.dumps(value).encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def text_chunk(text: str, finish_reason: str | None = None, *, chat: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
    return {"choices": [{"index": 0, "finish_reason": finish_reason, **content}]}


def usage_chunk(n_prompt: int, n_tokens: int, n_cached: int | None = None) -> dict[str, Any]:
    usage: dict[str, Any] = {"prompt_tokens": n_prompt, "completion_tokens": n_tokens}
    if n_cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": n_cached}
    return {"choices": [], "usage": usage}


def openai(
    pause_s: float = 0.0, tokens_per_word: int = 2, overhead: int = 7
) -> Callable[[Received], Iterator[Piece]]:
    """A small OpenAI: lists one model, streams `max_tokens` words, counts `tokens_per_word`."""

    def script(request: Received) -> Iterator[Piece]:
        if request.path == "/v1/models":
            yield plain("200 OK", {"object": "list", "data": [{"id": "scripted", "object": "model"}]})
            return
        body = request.body
        chat = "messages" in body
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        n_prompt = overhead + tokens_per_word * len(prompt.split())
        yield HEAD
        for _ in range(body["max_tokens"]):
            if pause_s:
                yield pause_s
            yield chunk(event(text_chunk(" word", chat=chat)))
        yield chunk(event(text_chunk("", "length", chat=chat)))
        yield chunk(event(usage_chunk(n_prompt, body["max_tokens"])))
        yield chunk(event("[DONE]")) + LAST

    return script


def main() -> None:
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        try:
            ScriptedServer(openai()).serve(listener)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
