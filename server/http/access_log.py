"""Every request's id and its line in the log; never its content. ASGI middleware."""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass, field, replace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.engine.events import Usage
from server.metrics.origin import begin_origin

logger = logging.getLogger("corral.access")

_KEY = "corral.record"
_QUIET = ("/health", "/ready", "/ping", "/v2/health/", "/web/assets/", "/admin/requests")
"""Paths that monitors and the web page ask for again and again have no line unless it goes wrong."""
_SAFE_ID = re.compile(rb"[\x21-\x7e]{1,128}")


@dataclass
class RequestRecord:
    """One request's line in the log. Routes fill in what they learn."""

    id: str
    method: str
    path: str
    begun: float = field(default_factory=time.perf_counter)
    status: int | None = None
    model: str | None = None
    arm: str | None = None
    """The arm of the preset that the request named."""
    generation_id: str | None = None
    usage: Usage | None = None
    outcome: str | None = None
    """The end of the request where the status doesn't show it: `disconnected`, or an error in a stream."""

    def fields(self) -> dict[str, str | int | float]:
        """Return the line's figures by name, without those that there are not."""
        usage = self.usage
        fields = {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "model": None if self.model is None else _shown(self.model),
            "arm": None if self.arm is None else _shown(self.arm),
            "prompt_tokens": None if usage is None else usage.prompt_tokens,
            "cached_tokens": None if usage is None else usage.cached_tokens,
            "completion_tokens": None if usage is None else usage.completion_tokens,
            "ms": round(1e3 * (time.perf_counter() - self.begun), 1),
            "request_id": self.id,
            "answer_id": self.generation_id,
            "outcome": self.outcome,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def line(self) -> str:
        """Return the line."""
        parts = [self.method, self.path, str(self.status or "-")]
        if self.model is not None:
            parts.append(f"model={_shown(self.model)}")
        if self.arm is not None:
            parts.append(f"arm={_shown(self.arm)}")
        if self.usage is not None:
            parts.append(f"prompt={self.usage.prompt_tokens} cached={self.usage.cached_tokens}")
            parts.append(f"completion={self.usage.completion_tokens}")
        parts.append(f"ms={1e3 * (time.perf_counter() - self.begun):.0f}")
        parts.append(f"id={self.id}")
        if self.generation_id is not None:
            parts.append(f"answer={self.generation_id}")
        if self.outcome is not None:
            parts.append(self.outcome)
        return " ".join(parts)


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of this request; a fresh one where the middleware wasn't passed."""
    record = scope.get(_KEY)
    return record if isinstance(record, RequestRecord) else _new(scope)


def part_of(scope: Scope) -> tuple[Scope, RequestRecord]:
    """Return a scope for a part of a request, with a record of its own that has no line in the log."""
    part: Scope = {**scope}
    record = part[_KEY] = replace(record_of(scope))
    begin_origin(record.id, record.path)
    return part, record


class RequestRecords:
    """Gives each request a record, answers with its `X-Request-Id` and the prefix key of what it generates
    from, and logs one line at its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[_KEY] = _new(scope)
        origin = begin_origin(record.id, record.path)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                # OpenAI's clients read the one name of the id, Anthropic's the other.
                told = [(b"x-request-id", record.id.encode()), (b"request-id", record.id.encode())]
                if origin.prefix_key:
                    told.append((b"x-corral-prefix", origin.prefix_key.encode()))
                message["headers"] = [*message.get("headers", ()), *told]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            quiet = record.status in (200, 304, 503) and record.path.startswith(_QUIET)
            level = logging.DEBUG if quiet else logging.INFO
            if logger.isEnabledFor(level):
                logger.log(level, "%s", record.line(), extra={"fields": record.fields})


def _new(scope: Scope) -> RequestRecord:
    return RequestRecord(id=_id(scope), method=_shown(scope["method"]), path=_shown(scope["path"]))


def _id(scope: Scope) -> str:
    """Return the client's id, where it is short and plain; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SAFE_ID.fullmatch(value):
            return str(value, "ascii")
    return new_request_id()


def _shown(text: str) -> str:
    """Return the text on one line and with an end: it comes from a client."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= 200 else shown[:199] + "…"


def new_request_id() -> str:
    """Return a fresh id of a request."""
    return f"req_{secrets.token_hex(16)}"
