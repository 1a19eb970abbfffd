"""A site with images on this machine: quick ones, and ones that wait at a gate."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What a site has; it may change while it runs. It sends half of what is below `/slow`, then waits."""

    url: str
    files: dict[str, bytes]
    redirects: Mapping[str, str] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """It is released for each request that waits."""


@contextmanager
def running_site(files: dict[str, bytes], redirects: Mapping[str, str] | None = None) -> Iterator[Site]:
    """Serve the files at their paths until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if (target := site.redirects.get(self.path)) is not None:
                self.send_response(302)
                self.send_header("Location", target)
                self.end_headers()
                return
            data = site.files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.end_headers()
            data = data or b""
            half = len(data) // 2 if self.path.startswith("/slow") else len(data)
            try:
                self.wfile.write(data[:half])
                if half < len(data):
                    site.waiting.release()
                    site.gate.wait(60)
                    self.wfile.write(data[half:])
            except OSError:
                pass  # whoever asked has gone

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(f"http://127.0.0.1:{server.server_port}", files, redirects or {})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield site
        finally:
            site.gate.set()
            server.shutdown()
