"""Several transfers at once, on threads of their own, with progress reported on the caller's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from models.hub.fetch import Cancelled, Transfer

_TICK_S = 0.1
_JOIN_S = 3.0


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """A file's progress. `bytes_done` and `bytes_total` are of all files, what was cached included."""

    path: str
    phase: Literal["waiting", "download", "verify", "done"]
    file_bytes_done: int
    file_bytes_total: int
    bytes_done: int
    bytes_total: int


def transfer_all(
    transfers: Sequence[Transfer],
    fetch: Callable[[Transfer], None],
    *,
    connections: int,
    stop: threading.Event,
    cancelled: Callable[[], bool],
    on_progress: Callable[[DownloadProgress], None] | None,
) -> None:
    """Return when all are fetched. On the first error, or when cancelled, stop the others and raise it.

    The threads are daemons: one that hangs in a name look-up keeps nobody from leaving.
    """
    pool = _Pool(transfers, fetch, stop)
    threads = [
        threading.Thread(target=pool.work, name=f"download-{number}", daemon=True)
        for number in range(min(connections, len(transfers)))
    ]
    for thread in threads:
        thread.start()
    reporter = _Reporter(transfers, on_progress)
    try:
        while not pool.wait(_TICK_S):
            reporter.report()
            if cancelled():
                raise Cancelled
    except BaseException:  # Ctrl-C ends the threads, too
        pool.abort()
        for thread in threads:
            thread.join(_JOIN_S)
        raise
    reporter.report()
    if pool.error is not None:
        pool.abort()
        for thread in threads:
            thread.join(_JOIN_S)
        raise pool.error


class _Pool:
    """The queue that the threads share, and its end: empty, or the first error."""

    def __init__(
        self, transfers: Sequence[Transfer], fetch: Callable[[Transfer], None], stop: threading.Event
    ) -> None:
        self.error: BaseException | None = None
        self._all = transfers
        self._fetch = fetch
        self._stop = stop
        self._waiting = deque(transfers)
        self._left = len(transfers)
        self._changed = threading.Condition()

    def work(self) -> None:
        """Fetch one transfer after the other, until there is none or all are to stop; a thread runs it."""
        while not self._stop.is_set():
            try:
                transfer = self._waiting.popleft()
            except IndexError:
                return
            error = None
            try:
                self._fetch(transfer)
            except BaseException as raised:  # noqa: BLE001 - raised again on the caller's thread
                error = raised
            with self._changed:
                self._left -= 1
                if error is not None and self.error is None:
                    self.error = error
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait for `timeout_s` at most. Return True if all is over, for good or with an error."""
        with self._changed:
            return self._changed.wait_for(lambda: self._left == 0 or self.error is not None, timeout_s)

    def abort(self) -> None:
        """Make every thread end soon."""
        self._stop.set()
        for transfer in self._all:
            transfer.abort()


class _Reporter:
    """The reporting of progress: of each change since the last report."""

    def __init__(
        self, transfers: Sequence[Transfer], on_progress: Callable[[DownloadProgress], None] | None
    ) -> None:
        self._transfers = transfers
        self._on_progress = on_progress
        self._reported: dict[str, tuple[str, int]] = {}
        self._bytes_total = sum(transfer.file.size_bytes for transfer in transfers)

    def report(self) -> None:
        if self._on_progress is None:
            return
        bytes_done = sum(transfer.bytes_done for transfer in self._transfers)
        for transfer in self._transfers:
            now = (transfer.phase, transfer.bytes_done)
            if transfer.phase != "waiting" and self._reported.get(transfer.file.path) != now:
                self._reported[transfer.file.path] = now
                self._on_progress(
                    DownloadProgress(
                        path=transfer.file.path,
                        phase=transfer.phase,
                        file_bytes_done=transfer.bytes_done,
                        file_bytes_total=transfer.file.size_bytes,
                        bytes_done=bytes_done,
                        bytes_total=self._bytes_total,
                    )
                )
