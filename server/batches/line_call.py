"""`LineCaller`: one line of a batch as a request to the application itself, without a socket.

It goes through everything that a client's request goes through: keys, limits, validation, the routes.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Scope

from server.batches.idle_service import in_idle_times
from server.http.api_keys import in_background

logger = logging.getLogger("corral.batches")


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """The answer of the application."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The id under which the log has the request."""
        return self.headers.get("x-request-id")

    @property
    def is_of_lost_key(self) -> bool:
        """True if the owner's key isn't good any more: it will answer no other request either."""
        return self.status == 401

    @property
    def retry_after_s(self) -> float | None:
        """The time after which the application wants to be asked again."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.replace(".", "", 1).isdigit() else None


class LineCaller:
    """Calls an application on behalf of the owners of batches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, owner: str, url: str, body: bytes) -> LineAnswer:
        """Return the answer to a POST of `body`. Cancelling this ends the request."""
        sent: list[Message] = []
        received = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            message = next(received, None)
            if message is None:
                await asyncio.Event().wait()  # this client doesn't go before it has its answer
            assert message is not None
            return message

        async def send(message: Message) -> None:
            sent.append(message)

        with in_idle_times():
            try:
                await self._app(_scope(owner, url, len(body)), receive, send)
            except Exception:  # a defect was answered as such before it got here
                if not sent:
                    raise
                logger.exception("a batch's request to %s met a defect", url)
        return _answer(sent)


def _scope(owner: str, url: str, n_bytes: int) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": url,
        "raw_path": url.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(n_bytes).encode()),
            (b"user-agent", b"corral-batch"),
        ],
        "client": None,
        "server": None,
        **in_background(owner),
    }


def _answer(sent: list[Message]) -> LineAnswer:
    start = sent[0]
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return LineAnswer(start["status"], headers, body)
