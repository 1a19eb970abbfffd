"""`RequestHeads`: the ASGI middleware that refuses requests whose head no route could serve.

One place for all routes: an address or headers that are too long (414, 431), a doubled or senseless `Host`
(400), and a body in an encoding that isn't read (415, 501).
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from server.http import refusals
from server.http.error_response import error_response
from server.http.hosts import parse_authority
from server.openai.errors import ApiError

MAX_TARGET_BYTES = 16 << 10
"""A request's path and query may have this many bytes."""
MAX_HEADER_BYTES = 64 << 10
"""All headers of a request together may have this many bytes."""


class RequestHeads:
    """Answers such requests with an error; others pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = refusal(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
            return
        headers = {"Accept-Encoding": "identity"} if error.status == 415 else {}
        await error_response(error, headers)(scope, receive, send)


def refusal(scope: Scope) -> ApiError | None:
    """Return the error of a request that isn't served, None for one that is."""
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return refusals.long_target(MAX_TARGET_BYTES)
    hosts: list[bytes] = []
    content_codings: list[bytes] = []
    transfer_codings: list[bytes] = []
    n_bytes, has_body = 0, False
    for name, value in scope["headers"]:
        n_bytes += len(name) + len(value)
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            has_body = has_body or value.strip(b"0") != b""
        elif name == b"content-encoding":
            content_codings += _codings(value)
        elif name == b"transfer-encoding":
            has_body = True
            transfer_codings += _codings(value)
    if n_bytes > MAX_HEADER_BYTES:
        return refusals.long_headers(MAX_HEADER_BYTES)
    if len(hosts) > 1:
        return refusals.invalid_head(f"it has {len(hosts)} Host headers instead of 1")
    if hosts and parse_authority(hosts[0].decode("latin-1")) is None:
        return refusals.invalid_head("its Host header is no host with or without a port")
    if any(coding != b"chunked" for coding in transfer_codings):
        return refusals.unread_transfer(_shown(transfer_codings))
    if has_body and content_codings:
        return refusals.unread_encoding(_shown(content_codings))
    return None


def _codings(value: bytes) -> list[bytes]:
    """Return the codings that a header names, without those that change nothing."""
    codings = [part.strip().lower() for part in value.split(b",")]
    return [coding for coding in codings if coding not in (b"", b"identity")]


def _shown(codings: list[bytes]) -> str:
    return b", ".join(codings).decode("latin-1")[:80]
