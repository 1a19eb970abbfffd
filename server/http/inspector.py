"""`Inspector`: the ASGI middleware that keeps the latest requests, to see what a client sends.

It is off unless asked for. Heads and bodies are kept without secrets: values of headers that aren't known to
be harmless are hidden, and of bodies there is the shape alone unless their content is asked for.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.secrets import HIDDEN, Redactor
from server.config import ServerConfig
from server.http.access_log import RequestRecord, record_of
from server.http.body_shape import shape_of

BODY_BYTES = 64 << 10
"""So much of a body is looked at, and kept where its content is wanted."""
_QUIET = frozenset({"/health", "/ready", "/metrics", "/admin/inspect"})
"""Requests of monitors would push out those of clients."""
_HARMLESS = frozenset(
    {
        "host",
        "user-agent",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "accept",
        "accept-encoding",
        "accept-language",
        "connection",
        "origin",
        "x-request-id",
        "anthropic-version",
        "anthropic-beta",
        "traceparent",
    }
)
"""The values of these headers are shown, and of those whose names begin with `x-stainless-`."""


@dataclass(slots=True)
class Inspections:
    """The latest requests, the oldest first."""

    mode: Literal["shape", "content"]
    redact: Redactor
    kept: deque[dict[str, Any]] = field(default_factory=deque)

    @classmethod
    def of(cls, config: ServerConfig) -> Self | None:
        """Return an empty list as the settings want it; None: nothing is to be kept."""
        if config.inspect == "off":
            return None
        keys = [key.get_secret_value() for key in config.api_keys]
        return cls(config.inspect, Redactor(keys), deque(maxlen=config.inspect_count))

    def add(self, scope: Scope, record: RequestRecord, at_s: float, body: bytes, n_bytes: int) -> None:
        """Keep a request that has ended; `body` are the first of its `n_bytes`."""
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        self.kept.append(
            {
                "time": round(at_s, 3),
                **{name: self._clean(value) for name, value in record.fields().items()},
                "query": sorted({name for name, _ in query}),
                "headers": [[name, self._clean(value)] for name, value in _shown_headers(scope)],
                "body_bytes": n_bytes,
                "body": self._body(body, n_bytes),
            }
        )

    def _body(self, body: bytes, n_bytes: int) -> Any:
        if not n_bytes:
            return None
        if self.mode == "content":
            text = self.redact(body.decode("utf-8", "replace"))
            return text if n_bytes == len(body) else f"{text}…"
        if n_bytes > len(body):
            return f"<{n_bytes} bytes, of which no more than {BODY_BYTES} are looked at>"
        try:
            return shape_of(json.loads(body))
        except (ValueError, RecursionError):
            return f"<{n_bytes} bytes that are no JSON>"

    def _clean(self, value: Any) -> Any:
        return self.redact(value) if isinstance(value, str) else value


def _shown_headers(scope: Scope) -> list[tuple[str, str]]:
    headers = []
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        is_harmless = name in _HARMLESS or name.startswith("x-stainless-")
        headers.append((name, value if is_harmless else HIDDEN))
    return headers


class Inspector:
    """Reads along with each request's body, and keeps the request when it has ended."""

    def __init__(self, app: ASGIApp, inspections: Inspections) -> None:
        self._app = app
        self._inspections = inspections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _QUIET:
            await self._app(scope, receive, send)
            return
        at_s, body, n_bytes = time.time(), bytearray(), 0

        async def reading() -> Message:
            nonlocal n_bytes
            message = await receive()
            if message["type"] == "http.request":
                part = message.get("body", b"")
                n_bytes += len(part)
                body.extend(part[: max(0, BODY_BYTES - len(body))])
            return message

        try:
            await self._app(scope, reading, send)
        finally:
            self._inspections.add(scope, record_of(scope), at_s, bytes(body), n_bytes)
