"""`fetch`: the bytes of an image that a client names by its address, from hosts that are allowed.

It runs in `fetching`. Redirects go to allowed hosts, too. Which hosts are allowed is the user's to say:
whoever may ask the server can have it fetch anything that it reaches there.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urljoin

import httpx2

from server.images.address import check_address
from server.images.limits import MAX_BYTES
from server.images.picture import Unreadable

SILENCE_S: Final = 15.0
"""A host that says nothing for so many seconds is given up."""
MAX_REDIRECTS: Final = 10
"""An address leads to at most so many others, one after another."""
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity"}


async def fetch(url: str, hosts: Sequence[str], tls: ssl.SSLContext, take: Callable[[int], None]) -> bytes:
    """Return what an address holds. Raises Unreadable, and what `take` raises.

    `hosts`: patterns such as `*.example.org`. `take` is called for each part with its bytes.
    """
    try:
        # A client of its own: none has another's cookies.
        async with httpx2.AsyncClient(verify=tls, timeout=SILENCE_S) as client:
            for _ in range(MAX_REDIRECTS + 1):
                check_address(url, hosts)
                async with client.stream("GET", url, headers=_HEADERS) as response:
                    if not response.has_redirect_location:
                        return await _body(response, take)
                    url = urljoin(url, response.headers["Location"])
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ImportError) as error:
        raise Unreadable(f"can't be fetched: {str(error) or type(error).__name__}"[:200]) from None
    raise Unreadable(f"can't be fetched: its address leads to more than {MAX_REDIRECTS} others")


async def _body(response: httpx2.Response, take: Callable[[int], None]) -> bytes:
    if not response.is_success:
        raise Unreadable(f"isn't there: its host answers {response.status_code}")
    parts = []
    n_bytes = 0
    async for part in response.aiter_raw():
        n_bytes += len(part)
        if n_bytes > MAX_BYTES:
            raise Unreadable(f"has more than {MAX_BYTES:,} bytes; make it smaller")
        take(len(part))
        parts.append(part)
    return b"".join(parts)
