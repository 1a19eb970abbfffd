"""`fetch`: the bytes of an image that a client names by its address, from hosts that are allowed.

It runs in `process`. Redirects go to allowed hosts, too. Which hosts are allowed is the user's to say:
whoever may ask the server can have it fetch anything that it reaches there.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import IO, Any, Final
from urllib.parse import urlsplit

from server.images.limits import MAX_BYTES
from server.images.picture import Unreadable

TIMEOUT_S: Final = 15.0
"""A host that says nothing for so many seconds is given up."""


def fetch(url: str, hosts: Sequence[str]) -> bytes:
    """Return what an address holds. `hosts`: patterns such as `*.example.org`. Raises Unreadable."""
    check_address(url, hosts)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(hosts),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"Accept": "image/*"})  # noqa: S310  # the scheme is checked
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            data: bytes = response.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise Unreadable(f"isn't there: its host answers {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreadable(f"can't be fetched: {getattr(error, 'reason', error)}"[:200]) from None
    if len(data) > MAX_BYTES:
        raise Unreadable(f"has more than {MAX_BYTES:,} bytes; make it smaller")
    return data


def check_address(url: str, hosts: Sequence[str]) -> None:
    """Raise Unreadable for an address that isn't http(s), or whose host no pattern allows."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        raise Unreadable("has an address that is none") from None
    if parts.scheme not in ("http", "https") or not host:
        raise Unreadable("has an address of a kind that isn't fetched; send its bytes as a data URL")
    if not any(fnmatchcase(host, pattern.lower()) for pattern in hosts):
        raise Unreadable(
            f"is at {host}, from where this server fetches nothing; send its bytes as a data URL, or serve "
            "with --image-hosts"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed hosts alone."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_address(newurl, self._hosts)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
