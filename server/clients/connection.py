"""`Connection`: requests to a server as a client sends them, and their answers, streamed or not.

Each request has a connection of its own; a stream can be left after some events, which ends its answer.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from models.errors import ConfigError, CorralError
from server.clients.trust import trust, untrusted

TIMEOUT_S = 600.0
"""A server may be silent for this many seconds: a long prompt takes its time on a CPU."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """A server-sent event: its name, if it has one, and its data, parsed if it is JSON."""

    name: str | None
    data: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `events` are a stream's; `left_early` says that the stream wasn't read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    events: tuple[StreamEvent, ...] = ()
    left_early: bool = False

    @property
    def document(self) -> Any:
        """The body as JSON, None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


@dataclass(frozen=True, slots=True)
class Connection:
    """The way to a server at `url`, its root. The key is sent as a bearer, as all these clients do."""

    url: str
    api_key: str | None = None
    timeout_s: float = TIMEOUT_S
    ca: Path | None = None
    """A file of certificates that are trusted besides the system's."""

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        n_events: int | None = None,
    ) -> Reply:
        """Send one request; of a stream, read `n_events` events or all.

        Raises CorralError if there is no answer.
        """
        sent = {"Accept": "application/json, text/event-stream", **(headers or {})}
        if self.api_key:
            sent["Authorization"] = f"Bearer {self.api_key}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        parts = urlsplit(self.url)
        connection = self._open(parts.scheme, parts.hostname or "", parts.port)
        try:
            connection.request(method, f"{parts.path.rstrip('/')}{path}", content, sent)
            return _read(connection.getresponse(), n_events)
        except (OSError, http.client.HTTPException) as error:
            if (distrust := untrusted(self.url, error)) is not None:
                raise distrust from error
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CorralError(
                f"no answer to {method} {path} from {self.url} ({reason}); start a server with corral serve"
                " REF, or name a running one with --url"
            ) from error
        finally:
            connection.close()

    def _open(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=trust(self.ca))
        return http.client.HTTPConnection(host, port, timeout=self.timeout_s)


def root_of(url: str) -> str:
    """Return `http://HOST:PORT` of a URL with or without http:// and /v1. Raises ConfigError."""
    base = (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in base):
        raise ConfigError(f"{url} is no URL of a server; write http://HOST:PORT")
    return base


def _read(response: http.client.HTTPResponse, n_events: int | None) -> Reply:
    headers = {name.lower(): value for name, value in response.getheaders()}
    if not headers.get("content-type", "").startswith("text/event-stream"):
        return Reply(response.status, headers, response.read())
    events: list[StreamEvent] = []
    lines: list[bytes] = []
    name: str | None = None
    data: list[str] = []
    for line in response:
        lines.append(line)
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith("event:"):
            name = text.removeprefix("event:").strip()
        elif text.startswith("data:"):
            data.append(text.removeprefix("data:").removeprefix(" "))
        elif not text and (data or name):
            events.append(StreamEvent(name, _parsed("\n".join(data))))
            name, data = None, []
            if n_events is not None and len(events) >= n_events:
                return Reply(response.status, headers, b"".join(lines), tuple(events), left_early=True)
    return Reply(response.status, headers, b"".join(lines), tuple(events))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
