"""The events of a streamed response, as the JSON of server-sent events. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class EventWriter:
    """Encodes events and counts them."""

    def __init__(self) -> None:
        self._n_events = 0
        self._added: dict[str, Any] = {}

    @contextmanager
    def adding(self, **fields: Any) -> Iterator[None]:
        """Give the events of a block these fields, too."""
        self._added = fields
        try:
            yield
        finally:
            self._added = {}

    def event(self, kind: str, **fields: Any) -> bytes:
        """Return the bytes of the next event."""
        body = {"type": kind, "sequence_number": self._n_events, **fields, **self._added}
        self._n_events += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(body))
