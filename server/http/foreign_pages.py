"""`ForeignPages`: keeps web pages of others from using a server without API keys. ASGI middleware.

A browser sends a page's simple requests (forms, `text/plain`, images) to any server without asking it, and on
loopback the server can't tell its user from a page in the user's browser but by what the browser says:
`Host`, `Origin`, and `Sec-Fetch-Site`. Nothing here is for programs, which may send what they like; and where
keys are asked for, a page that has none gets nowhere.

    Host            a name that could be a public domain's      403, whatever is asked for (DNS rebinding)
    Origin          neither the server's own, nor one of        403, so it changes nothing and starts nothing
                    --cors-origin, nor a program's
    Sec-Fetch-Site  cross-site, where Origin is missing         403, but for links to pages that start nothing
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from server.http import refusals
from server.http.error_response import error_response
from server.http.hosts import AllowedHosts, Authority, parse_authority, parse_origin
from server.http.origins import AllowedOrigins
from server.http.route_scopes import OPEN_PATHS
from server.keys.key_ring import KeyRing
from server.openai.errors import ApiError

_FOREIGN_SITES = frozenset({"cross-site", "same-site"})


class ForeignPages:
    """Refuses names that aren't in `hosts`, and pages of origins that aren't in `origins`.

    While `keys` are asked for, nothing is refused.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, hosts: AllowedHosts, origins: AllowedOrigins) -> None:
        self._app = app
        self._keys = keys
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_guarded = scope["type"] == "http" and not self._keys.asks_for_keys()
        error = self._refusal(scope) if is_guarded else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await error_response(error)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        # No name leads to a unix socket: who calls it is a program, and it may be a proxy with public names.
        address, port = scope.get("server") or ("", 0)
        is_local = port is None and address.startswith("/")
        host = Authority("", None)
        for text in _values(scope, b"host"):
            named = parse_authority(text)
            if named is None or not (is_local or self._hosts.allow(named.host)):
                return refusals.foreign_host(text if named is None else named.host)
            host = named
        if self._origins.has_all:
            return None
        site = "".join(_values(scope, b"sec-fetch-site")).lower()
        origins = _values(scope, b"origin")
        if site != "same-origin":  # no page can write this header, and a proxy may have changed `Host`
            for text in origins:
                if not self._allows(text, host):
                    return refusals.foreign_origin(text)
        if not origins and site in _FOREIGN_SITES and not _is_link_to_a_page(scope):
            return refusals.foreign_origin(f"another site ({site})")
        return None

    def _allows(self, text: str, host: Authority) -> bool:
        if self._origins.allow(text):
            return True
        origin = parse_origin(text)
        return origin is not None and (origin.is_of(host) or origin.is_a_programs)


def _is_link_to_a_page(scope: Scope) -> bool:
    """True if a user follows a link, and what it leads to starts nothing."""
    mode, destination = _values(scope, b"sec-fetch-mode"), _values(scope, b"sec-fetch-dest")
    return (
        scope["method"] in ("GET", "HEAD")
        and scope["path"] in OPEN_PATHS
        and (mode, destination) == (["navigate"], ["document"])
    )


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for found, value in scope["headers"] if found == name]
