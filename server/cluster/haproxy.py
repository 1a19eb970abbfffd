"""`haproxy_config`: HAProxy's settings file for several servers, each with the same models. Pure.

A request goes where its beginning has been before, so that what is shared of a prompt is computed once, or
where the session has been that its client names; a
server that has much more to do than the others isn't chosen (consistent hashing with bounded loads). What a
server hasn't begun to answer goes to another one.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import ConfigError

DEFAULT_PORT = 8000
"""A server is taken to listen here where its address doesn't say."""
BALANCE_PERCENT = 150
"""No server gets more than so many percent of the mean load."""
BUFFER_BYTES = 65_536
"""A body of up to so many bytes, less HAProxy's reserve, can be sent to a second server."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server, or the one to listen at."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str, port: int = DEFAULT_PORT) -> Address:
        """Parse `HOST`, `HOST:PORT`, `[2001:db8::1]:PORT`, or a URL of these. Raises ConfigError."""
        scheme, separator, rest = text.strip().rpartition("://")
        if separator and scheme not in ("http", "https"):
            raise ConfigError(f"{text!r:.200} begins with {scheme}://; give http://, https:// or HOST:PORT")
        rest = rest.removesuffix("/")
        match = re.fullmatch(
            r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/]+))(?::(?P<port>\d{1,5}))?", rest
        )
        host = "" if match is None else match["six"] or match["host"]
        is_right = match is not None and (
            _is_ipv6(host) if match["six"] else _NAME.fullmatch(host) is not None
        )
        number = int(match["port"]) if match is not None and match["port"] else port
        if not is_right or not 0 < number < 65536:
            raise ConfigError(f"{text!r:.200} is no server's address; give HOST:PORT, such as 10.0.0.1:8000")
        return cls(host, number, tls=scheme == "https")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def haproxy_config(servers: Sequence[Address], listen: Address, *, prefix_bytes: int = 512) -> str:
    """Return the file's text. The beginning that is hashed are `prefix_bytes` of a body.

    Raises ConfigError for no server, or one that is named twice.
    """
    if not servers:
        raise ConfigError("there are no servers to choose from; name them: HOST:PORT …")
    for index, server in enumerate(servers):
        if server in servers[:index]:
            raise ConfigError(f"the server {server} is named twice; name each once")
    lines = "\n".join(_server(number, server) for number, server in enumerate(servers, 1))
    return _TEXT.format(
        buffer_bytes=BUFFER_BYTES,
        errors="\n".join(_error(status, words) for status, words in _ERRORS.items()),
        listen=listen,
        prefix_bytes=prefix_bytes,
        balance=BALANCE_PERCENT,
        servers=lines,
    )


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _server(number: int, server: Address) -> str:
    tls = " ssl verify required ca-file @system-ca" if server.tls else ""
    return f"    server corral-{number} {server}{tls}"


_ERRORS = {
    502: "The server ended in the middle of its answer; send the request again",
    503: "No server can take this request now; send it again later",
    504: "The server's answer didn't come in time; send the request again",
}
"""The errors that are HAProxy's own, in the form that OpenAI's clients read."""


def _error(status: int, words: str) -> str:
    error = {"message": words, "type": "server_error", "param": None, "code": "no_server"}
    body = _quoted(json.dumps({"error": error}))
    head = f"http-error status {status} content-type application/json hdr Retry-After 1"
    return f"    {head} string '{body}'"


def _quoted(text: str) -> str:
    """Return a text as it stands within HAProxy's single quotes."""
    return text.replace("'", "'\\''")


_TEXT = """\
# HAProxy (2.6 or later) in front of several Corrals with the same models: corral cluster config haproxy.
# Check it with haproxy -c -f FILE.

global
    # What is sent to a second server must fit, and so must the beginning that is hashed.
    tune.bufsize {buffer_bytes}

defaults
    mode http
    # Each token is passed on at once, and a client that goes ends its answer.
    option http-no-delay
    option abortonclose
    timeout connect 3s
    timeout http-request 30s
    timeout queue 30s
    timeout client 1h
    timeout server 1h
    # A request is sent again as long as nothing of its answer has come.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response 503
{errors}

frontend api
    bind {listen}
    option http-buffer-request
    # By the session that the client names, by the key that an answer told it, or by the body's beginning.
    http-request set-var(txn.beginning) req.body,bytes(0,{prefix_bytes}),xxh64 if METH_POST
    acl has_key req.hdr(x-corral-prefix) -m found
    acl has_session req.hdr(x-session-id) -m found
    http-request set-var(txn.beginning) req.hdr(x-corral-prefix),xxh64 if has_key
    http-request set-var(txn.beginning) req.hdr(x-session-id),xxh64 if has_session
    use_backend by_beginning if {{ var(txn.beginning) -m found }}
    default_backend any

backend by_beginning
    balance hash var(txn.beginning)
    hash-type consistent sdbm avalanche
    hash-balance-factor {balance}
    # A server that stops says so before it closes its door (--drain-delay-s 3 or more).
    option httpchk GET /ready
    default-server check inter 1s fastinter 200ms downinter 200ms fall 2 rise 1
    default-server observe layer4 error-limit 1 on-error mark-down
{servers}

backend any
    balance leastconn
    option httpchk GET /ready
    default-server check inter 1s fastinter 200ms downinter 200ms fall 2 rise 1
    default-server observe layer4 error-limit 1 on-error mark-down
{servers}
"""
