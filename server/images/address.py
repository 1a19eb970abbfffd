"""`check_address`: only http(s) addresses of hosts that are allowed are fetched. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from server.images.limits import MAX_ADDRESS
from server.images.picture import Unreadable


def check_address(url: str, hosts: Sequence[str]) -> None:
    """Raise Unreadable for an address that isn't http(s), or whose host no pattern allows.

    `hosts`: patterns such as `*.example.org`.
    """
    if len(url) > MAX_ADDRESS:
        raise Unreadable(f"has an address of {len(url):,} characters; the limit is {MAX_ADDRESS:,}")
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
