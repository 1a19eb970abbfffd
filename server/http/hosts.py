"""Names in `Host` and `Origin` headers, and those that a server without API keys answers to. Pure.

Whoever owns a domain can let its name point to 127.0.0.1 after a page was loaded from it; the page then
reaches this server as its own origin (DNS rebinding). The browser still sends the domain's name as `Host`, so
a server that answers to local names only can't be reached that way.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]@/?#\s]+\]|[^\[\]:@/?#\s,\\]*)(?::(?P<port>[0-9]{0,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>.*)")
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa")
"""Names below these belong to no public domain, and `host.docker.internal` is one of them."""
_MOST_CHARS = 512
"""No host is longer: a name has at most 253 characters, an address with a zone some hundred."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DOCUMENT_SCHEMES = frozenset({"http", "https", "file", "ftp"})
"""Documents from anybody have origins of these schemes; others (`vscode-webview`, `tauri`,
`chrome-extension`) are those of programs that a user has installed."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A host in lower case, without brackets and without a dot at its end; and the port, if one is named."""

    host: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """A web origin, `https://app.example:8443`."""

    scheme: str
    authority: Authority

    def is_of(self, host: Authority) -> bool:
        """True for the origin of pages that come from the server which is addressed as `host`."""
        default = _DEFAULT_PORTS.get(self.scheme)
        return (
            default is not None
            and self.authority.host == host.host
            and (self.authority.port or default) == (host.port or default)
        )

    @property
    def is_a_programs(self) -> bool:
        """True for the origin of an installed program's page, which no web page can have."""
        return self.scheme not in _DOCUMENT_SCHEMES


def parse_authority(text: str) -> Authority | None:
    """Return the parts of a `Host` header's value; None if it is none."""
    return _parsed(text) if len(text) <= _MOST_CHARS else None


@lru_cache(maxsize=256)  # nearly every request names the same host, more than once
def _parsed(text: str) -> Authority | None:
    text = text.strip().lower()
    if _is_ip(text):
        return Authority(text, None)
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host, port = match["host"], match["port"]
    if host.startswith("[") and not _is_ip(host[1:-1]):
        return None
    if port and int(port) > 65535:
        return None
    return Authority(host.strip("[]").removesuffix("."), int(port) if port else None)


def parse_origin(text: str) -> Origin | None:
    """Return an `Origin` header's value; None for `null` and for what is no origin."""
    match = _ORIGIN.fullmatch(text.strip().lower())
    authority = None if match is None else parse_authority(match["authority"])
    return None if match is None or authority is None else Origin(match["scheme"], authority)


def plain_origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without a slash at its end or the usual port."""
    plain = text.strip().lower()
    plain = plain if plain.endswith("://") else plain.rstrip("/")
    scheme = plain.partition("://")[0]
    return plain.removesuffix(f":{_DEFAULT_PORTS.get(scheme, '')}")


class AllowedHosts:
    """The names that a server answers to.

    Always allowed is what no public domain can be: addresses, `localhost`, names of one word, and those below
    `.localhost`, `.local`, `.internal` and `.home.arpa`. `names` are allowed besides: `corral.example`,
    `*.example` for all names below one, `*` for every name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        plain = [name.strip().lower().strip("[]").removesuffix(".") for name in names]
        self._all = "*" in plain
        self._suffixes = (*_LOCAL_SUFFIXES, *(name[1:] for name in plain if name.startswith("*.")))
        self._names = frozenset(plain)

    def allow(self, host: str) -> bool:
        """True if `host`, as `parse_authority` returns it, is one of them. A request may name none at all."""
        return (
            self._all
            or "." not in host
            or host in self._names
            or host.endswith(self._suffixes)
            or _is_ip(host)
        )


@lru_cache(maxsize=256)
def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text.replace("%25", "%", 1))
    except ValueError:
        return False
    return True
