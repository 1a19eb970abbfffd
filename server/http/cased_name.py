"""`CasedName`: a header's name that is sent as it is written.

HTTP's names have no case, and uvicorn sends them all in lower case; programs made for llama-server alone may
look for them as it writes them.
"""

from __future__ import annotations

from collections.abc import Mapping


class CasedName(bytes):
    """A name that stays as it is when it is to be made lower."""

    __slots__ = ()

    def lower(self) -> CasedName:
        return self


def cased_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers for an ASGI message, with the case of their names."""
    return [(CasedName(name.encode()), value.encode("latin-1")) for name, value in headers.items()]
