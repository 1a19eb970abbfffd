"""`Target`: the address of a server to load, and the bytes of requests to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from models.errors import ConfigError, CorralError

Address = tuple[Any, ...]
CONNECT_TIMEOUT_S = 10.0
"""An address that takes no connection within this many seconds doesn't answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as bytes. `label` tells kinds of requests in one load apart.

    `max_tokens` is the limit in the request, which is counted when the server reports no usage.
    """

    payload: bytes
    label: str = ""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A server. `address` is the one of its addresses that answers, `base_path` ends in /v1."""

    host: str
    port: int
    tls: bool
    base_path: str
    family: socket.AddressFamily
    address: Address
    api_key: str | None = None
    ca: Path | None = None
    """A file of certificates that are trusted besides the system's."""

    @classmethod
    def find(cls, url: str, api_key: str | None = None, ca: Path | None = None) -> Target:
        """Return the server at `url` (with or without /v1), after one connection to it.

        Raises ConfigError for what is no http(s) URL, CorralError if nobody answers there.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"{url} is no URL of a server ({error}); write http://HOST:PORT") from error
        if parts.scheme not in {"http", "https"} or not host:
            raise ConfigError(f"{url} is no URL of a server; write http://HOST:PORT")
        tls = parts.scheme == "https"
        port = port or (443 if tls else 80)
        family, address = _answering(host, port)
        path = parts.path.rstrip("/")
        base_path = path if path.endswith("/v1") else f"{path}/v1"
        return cls(host, port, tls, base_path, family, address, api_key, ca)

    @property
    def url(self) -> str:
        """The URL, for people."""
        return f"{'https' if self.tls else 'http'}://{self._authority}{self.base_path}"

    def get(self, path: str) -> Request:
        """Return a GET of `path`, which is below /v1."""
        return Request(self._head("GET", path, {}))

    def post(self, path: str, body: Mapping[str, Any], label: str = "") -> Request:
        """Return a POST of `body` as JSON to `path`, which is below /v1."""
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return Request(self._head("POST", path, headers) + content, label, body.get("max_tokens"))

    def stream(self, body: Mapping[str, Any], label: str = "") -> Request:
        """Return a stream with usage: of a chat completion if `body` has messages, else of a completion."""
        path = "/chat/completions" if "messages" in body else "/completions"
        return self.post(path, {**body, "stream": True, "stream_options": {"include_usage": True}}, label)

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Return the head; each request has a connection of its own, so that none waits for another."""
        lines = [
            f"{method} {self.base_path}{path} HTTP/1.1",
            f"Host: {self._authority}",
            "Connection: close",
            "Accept: application/json, text/event-stream",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def _answering(host: str, port: int) -> tuple[socket.AddressFamily, Address]:
    """Return the first address of `host` that takes a connection. Raises CorralError."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise CorralError(f"the host {host} isn't known ({error}); check the URL") from error
    reason: OSError | None = None
    for family, _, _, _, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.settimeout(CONNECT_TIMEOUT_S)
            try:
                trial.connect(address)
            except OSError as error:
                reason = error
            else:
                return family, address
    why = (reason.strerror or str(reason)) if reason else "it has no address"
    raise CorralError(f"nothing answers at {host}, port {port} ({why}); is the server running?")
