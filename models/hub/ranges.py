"""Parts of the Hub's files, as bytes in memory, requested until all of a part is here.

Knows HTTP only as `OpenRange`; the Hub's side of it is `models.hub.download`, which sees to it that every
part is of the same commit and of a file of the same size and hash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from models.errors import HubUnreachable
from models.hub.fetch import Broken, Cancelled, Retries, Stream
from models.hub.files import RemoteFile

OpenRange = Callable[[RemoteFile, int, int], AbstractContextManager[Stream]]
"""Request bytes [begin, end) of a file. Raises Broken, or a HubError that no repetition mends."""


class RangeReader:
    """A reader of parts of one repository's files. Several threads may use it at once."""

    def __init__(self, open_range: OpenRange, retries: Retries) -> None:
        self._open_range = open_range
        self._retries = retries
        self._stop = threading.Event()
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        self.bytes_received = 0
        """The bytes that came, those that had to be requested twice included."""

    def read(self, file: RemoteFile, begin: int, end: int) -> bytearray:
        """Return bytes [begin, end) of a file. Raises HubError: refused, changed, unreachable, cancelled."""
        received = bytearray()
        failures = 0
        while begin + len(received) < end:
            before = len(received)
            try:
                self._receive(file, received, begin, end)
            except Broken as broken:
                failures = failures + 1 if len(received) == before else 1
                self._wait(file, broken, failures)
        return received

    def cancel(self) -> None:
        """Make every `read` end at once with Cancelled."""
        self._stop.set()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.abort()

    def _receive(self, file: RemoteFile, received: bytearray, begin: int, end: int) -> None:
        """Make one request, as far as it gets."""
        self._check_stop()
        with self._open_range(file, begin + len(received), end) as stream:
            with self._lock:
                self._streams.add(stream)
            try:
                for chunk in stream.chunks():
                    self._check_stop()
                    received += chunk[: end - begin - len(received)]
                    with self._lock:
                        self.bytes_received += len(chunk)
            finally:
                with self._lock:
                    self._streams.discard(stream)
        if begin + len(received) < end:
            raise Broken("the connection ended early")

    def _wait(self, file: RemoteFile, broken: Broken, failures: int) -> None:
        self._check_stop()
        if failures > self._retries.failures:
            raise HubUnreachable(
                f"{file.path}: {broken.reason}, {failures} times in a row; check the network, and run the"
                f" same command again: it goes on from here"
            ) from broken
        wait_s = self._retries.wait_s(failures) if broken.retry_after_s is None else broken.retry_after_s
        self._stop.wait(min(wait_s, self._retries.longest_wait_s))
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Cancelled
