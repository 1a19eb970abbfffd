"""`PageFiles`: the web page's files, as they are sent: with type and tag, and compressed."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

FOLDER = Path(__file__).resolve().parents[1] / "web"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""Only files that end so are sent."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""A page's contents come from its own server or nowhere, no script or style stands within them, and no text
becomes HTML: the pages make elements."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
"""Every file is asked for anew, and not sent again while it has the same tag: an update shows at once."""


class PageFile(msgspec.Struct, frozen=True):
    """One file. `packed` is None where compressing it saves nothing."""

    body: bytes
    packed: bytes | None
    media_type: str
    tag: str


class PageFiles:
    """The files below a folder. They are read when they are first asked for, and kept."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._paths = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.suffix in TYPES and path.is_file()
        }
        self._read: dict[str, PageFile] = {}

    def names(self) -> Iterable[str]:
        """Return the names of all files, by which `get` knows them."""
        return self._paths.keys()

    def get(self, name: str) -> PageFile | None:
        """Return a file; None: there is none by that name. Names are compared, never opened."""
        path = self._paths.get(name)
        if path is None:
            return None
        if name not in self._read:
            self._read[name] = _page_file(path)
        return self._read[name]


@cache
def page_files() -> PageFiles:
    """Return the page's files, listed once."""
    return PageFiles()


def _page_file(path: Path) -> PageFile:
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0)
    return PageFile(
        body,
        packed if len(packed) < len(body) * 0.9 else None,
        TYPES[path.suffix],
        f'"{hashlib.sha256(body).hexdigest()[:24]}"',
    )
