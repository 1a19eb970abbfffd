"""`AllowedOrigins`: the web origins of `--cors-origin`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from server.http.hosts import plain_origin

LOCAL = "localhost"
"""The word in place of an origin that means every page of a server on the user's own machine."""
LOCAL_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")


class AllowedOrigins:
    """The origins whose pages may call this server; `*` stands for all, `localhost` for local ones."""

    def __init__(self, origins: Iterable[str]) -> None:
        self.plain = tuple(dict.fromkeys(map(plain_origin, origins)))
        self.has_all = "*" in self.plain
        self.has_local = LOCAL in self.plain

    def __bool__(self) -> bool:
        return bool(self.plain)

    def allow(self, origin: str) -> bool:
        """Return True if pages of an origin may call."""
        plain = plain_origin(origin)
        is_local = self.has_local and LOCAL_ORIGIN.fullmatch(plain) is not None
        return self.has_all or is_local or (plain != LOCAL and plain in self.plain)
