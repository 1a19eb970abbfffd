"""`Refusals`: the grammars that were refused last, so that they cost nothing the next time. Pure."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from models.errors import RequestError

MAX_REFUSALS = 512
"""So many refusals are kept, each with a message of at most some hundred characters and no grammar's text."""


class Refusals:
    """The last refusals by the key of their grammar. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[str, str | None, str | None]] = OrderedDict()

    def check(self, key: bytes) -> None:
        """Raise the RequestError that a grammar was refused with; return if there is none."""
        digest = hashlib.sha256(key).digest()
        with self._lock:
            if (kept := self._kept.get(digest)) is None:
                return
            self._kept.move_to_end(digest)
        raise RequestError(*kept)

    def keep(self, key: bytes, error: RequestError) -> None:
        """Keep why a grammar is refused, whenever it comes."""
        digest = hashlib.sha256(key).digest()
        with self._lock:
            self._kept[digest] = (error.message, error.param, error.code)
            self._kept.move_to_end(digest)
            if len(self._kept) > MAX_REFUSALS:
                self._kept.popitem(last=False)
