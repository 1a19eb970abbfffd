"""A file's way from the Hub into the cache: resumed, hashed, named when its hash is right.

Knows HTTP only as `OpenStream`; the Hub's side of it is `models.hub.download`.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from filelock import Timeout

from models.errors import DownloadCorrupt, HubError, HubUnreachable
from models.hub.cache import RepoCache, VerifiedNotes
from models.hub.files import RemoteFile
from models.store.atomic_write import disk_errors
from models.store.file_lock import acquire

_READ_BYTES = 1 << 20
_FETCHES = 2
"""A file is fetched at most this many times: once more after it arrived corrupt."""


class Broken(Exception):
    """A request that failed, and may succeed when it is made again."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Cancelled(HubError):
    """The download was cancelled."""

    def __init__(self) -> None:
        super().__init__("the download was cancelled; what has arrived is kept: pull again to go on")


class Stream(Protocol):
    """A response's body. `offset`: where in the file it starts; 0 if the server doesn't resume."""

    offset: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises Broken."""

    def abort(self) -> None:
        """End `chunks` in another thread with Broken, at once."""


OpenStream = Callable[[RemoteFile, int], AbstractContextManager[Stream]]
"""Request a file from an offset. Raises Broken, or a HubError that no repetition mends."""


@dataclass(frozen=True, slots=True)
class Retries:
    """The failures in a row without a byte in between that are borne, and the waits: doubled each time."""

    failures: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0

    def wait_s(self, failures: int) -> float:
        return min(self.first_wait_s * 2.0 ** (failures - 1), self.longest_wait_s)


class Transfer:
    """One file's progress; written by the thread that fetches it, read by any."""

    def __init__(self, file: RemoteFile, bytes_done: int) -> None:
        self.file = file
        self.bytes_done = bytes_done
        self.phase: Literal["waiting", "download", "verify", "done"] = "waiting"
        self.stream: Stream | None = None

    def abort(self) -> None:
        """Wake the thread if it waits for the network."""
        stream = self.stream
        if stream is not None:
            stream.abort()


class Fetcher:
    """The fetching of one repository's files at one commit. Several threads may use it at once."""

    def __init__(
        self,
        cache: RepoCache,
        notes: VerifiedNotes,
        commit: str,
        open_stream: OpenStream,
        retries: Retries,
        stop: threading.Event,
    ) -> None:
        self._cache = cache
        self._notes = notes
        self._commit = commit
        self._open_stream = open_stream
        self._retries = retries
        self._stop = stop

    def fetch(self, transfer: Transfer) -> None:
        """Put the file into the snapshot, its hash checked. Raises HubError, StoreError or DiskFull."""
        file = transfer.file
        here = self._cache.hf_cache
        with disk_errors(f"download {file.path}", here, "HF_HOME"):
            if not self._is_in_snapshot(transfer):
                self._fetch_locked(transfer)
        transfer.bytes_done = file.size_bytes
        transfer.phase = "done"

    def _fetch_locked(self, transfer: Transfer) -> None:
        file = transfer.file
        with self._locked(file):
            is_new = not self._use_cached(transfer)
            if is_new:
                self._download(transfer)
            self._cache.link(file, self._commit, is_new=is_new)

    def _is_in_snapshot(self, transfer: Transfer) -> bool:
        """Return True if the right bytes are in their place: then no lock and no link is needed.

        So a cache that can't be written, or has no locks, serves what it has.
        """
        file = transfer.file
        path = self._cache.snapshot(self._commit) / file.path
        return self._cache.find(file, self._commit) == path and self._is_right(transfer, path)

    def _use_cached(self, transfer: Transfer) -> bool:
        """Return True if the cache has the right bytes; drop wrong ones."""
        file = transfer.file
        path = self._cache.find(file, self._commit)
        if path is None:
            return False
        if self._is_right(transfer, path):
            return True
        self._cache.drop(file, self._commit)
        transfer.bytes_done = 0
        return False

    def _is_right(self, transfer: Transfer, path: Path) -> bool:
        """Return True if the bytes at `path` have the file's hash."""
        file = transfer.file
        if self._notes.is_verified(file, path):
            return True
        transfer.phase = "verify"
        transfer.bytes_done = 0
        digest = new_digest(file)
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(_READ_BYTES), b""):
                self._check_stop()
                digest.update(block)
                transfer.bytes_done += len(block)
        if digest.hexdigest() != file.etag:
            return False
        self._notes.mark(file, path)
        return True

    def _download(self, transfer: Transfer) -> None:
        file = transfer.file
        partial, blob = self._cache.partial(file), self._cache.blob(file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_FETCHES):
            transfer.phase = "download"
            try:
                whole = self._receive(transfer, partial)
            except BaseException:  # Ctrl-C leaves no empty file either
                if transfer.bytes_done == 0:
                    partial.unlink(missing_ok=True)
                raise
            if whole:
                partial.replace(blob)
                self._notes.mark(file, blob)
                return
            partial.unlink()
            transfer.bytes_done = 0
        kind = "sha256" if file.sha256 else "git hash"
        raise DownloadCorrupt(
            f"{file.path} arrived {_FETCHES} times with another {kind} than the Hub's {file.etag[:12]}…;"
            f" a proxy or mirror may change it: try again later, or without HF_ENDPOINT"
        )

    def _receive(self, transfer: Transfer, partial: Path) -> bool:
        """Append to `partial` until it is whole. Return True if its hash is right."""
        with partial.open("a+b") as output:
            digest = self._resume(transfer, output)
            failures = 0
            while transfer.bytes_done < transfer.file.size_bytes:
                before = transfer.bytes_done
                try:
                    digest = self._receive_some(transfer, output, digest)
                except Broken as broken:
                    self._check_stop()
                    failures = failures + 1 if transfer.bytes_done <= before else 1
                    self._wait(transfer.file, broken, failures)
            if transfer.bytes_done > transfer.file.size_bytes:
                return False
            output.flush()
            os.fsync(output.fileno())
        return digest.hexdigest() == transfer.file.etag

    def _resume(self, transfer: Transfer, output: BinaryIO) -> Digest:
        """Hash what an earlier run left, and return the digest so far."""
        digest = new_digest(transfer.file)
        if output.seek(0, os.SEEK_END) > transfer.file.size_bytes:
            output.truncate(0)
        output.seek(0)
        transfer.bytes_done = 0
        for block in iter(lambda: output.read(_READ_BYTES), b""):
            self._check_stop()
            digest.update(block)
            transfer.bytes_done += len(block)
        return digest

    def _receive_some(self, transfer: Transfer, output: BinaryIO, digest: Digest) -> Digest:
        """Make one request, as far as it gets. Return the digest: a new one if the server starts over."""
        with self._open_stream(transfer.file, transfer.bytes_done) as stream:
            if stream.offset != transfer.bytes_done:
                output.truncate(0)
                transfer.bytes_done = 0
                digest = new_digest(transfer.file)
            transfer.stream = stream
            try:
                for chunk in stream.chunks():
                    self._check_stop()
                    output.write(chunk)
                    digest.update(chunk)
                    transfer.bytes_done += len(chunk)
                    if transfer.bytes_done > transfer.file.size_bytes:
                        return digest
            finally:
                transfer.stream = None
                output.flush()
        if transfer.bytes_done < transfer.file.size_bytes:
            raise Broken("the connection ended early")
        return digest

    def _wait(self, file: RemoteFile, broken: Broken, failures: int) -> None:
        if failures > self._retries.failures:
            raise HubUnreachable(
                f"{file.path}: {broken.reason}, {failures} times in a row;"
                f" check the network and pull again (what has arrived is kept)"
            ) from broken
        wait_s = broken.retry_after_s
        if wait_s is None:
            wait_s = self._retries.wait_s(failures)
        self._stop.wait(min(wait_s, self._retries.longest_wait_s))
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Cancelled

    @contextmanager
    def _locked(self, file: RemoteFile) -> Iterator[None]:
        """Hold the cache's lock for this blob; wait while another process fetches it."""
        path = self._cache.lock(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._check_stop()
            try:
                lock = acquire(path)
                break
            except Timeout:
                time.sleep(0.1)
        try:
            yield
        finally:
            lock.release()


class Digest(Protocol):
    """A hash in the making, as hashlib has them."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def new_digest(file: RemoteFile) -> Digest:
    """Return the digest whose result must be `file.etag`: sha256, or git's blob hash."""
    if file.sha256:
        return hashlib.sha256()
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % file.size_bytes)
    return digest
