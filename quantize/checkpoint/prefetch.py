"""Files of the Hub, fetched in chunks ahead of their readers, within a budget of memory.

order      the chunks of the tensors to come, in the order in which they will be read fetchers   a few threads
that bring them, as long as they have room readers    copy bytes out; a chunk is dropped when all its needed
bytes have been copied hash       each file is hashed while its chunks come one after the other, so that its
sha256 can be compared

A reader that needs a chunk that nobody is about to bring (it was dropped, or there is no room) fetches it
itself, so that reading in another order than expected is slow and never wrong.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from models.errors import DownloadCorrupt, HubError
from models.hub.files import RemoteFile
from models.hub.ranges import RangeReader

CHUNK_BYTES: Final = 8 * 2**20
"""The size of a chunk, in which files are fetched."""

FETCHERS: Final = 4
"""This many threads fetch at once."""

HOLES_BYTES: Final = 64 * 2**20
"""Up to this many bytes that nobody needs are fetched, so that a file can be hashed whole."""

Extent = tuple[str, int, int]
"""A part of a file: the file's name, and the offsets of its begin and end."""


@dataclass
class _Chunk:
    """A piece of a file. `left` counts the needed bytes that no reader has copied yet."""

    file: str
    number: int
    begin: int
    end: int
    left: int = 0
    data: bytearray | None = None
    fetching: bool = False
    hashed: bool = False

    @property
    def n_bytes(self) -> int:
        return self.end - self.begin


@dataclass
class _File:
    """A file, its chunks, and the next chunk to hash. `why` is the reason if it can't be hashed whole."""

    remote: RemoteFile
    chunks: list[_Chunk] = field(default_factory=list)
    next: int = 0
    why: str | None = None
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_hashed(self) -> bool:
        return bool(self.chunks) and self.next == len(self.chunks)


class Prefetcher:
    """A reader of several files, which holds at most about `budget_bytes` at once. Close it."""

    def __init__(self, reader: RangeReader, files: Sequence[RemoteFile], budget_bytes: int) -> None:
        self.memory_bytes = budget_bytes + FETCHERS * CHUNK_BYTES
        self._reader = reader
        self._budget = max(budget_bytes, 2 * CHUNK_BYTES)
        self._files = {file.path: _File(file, _cut(file)) for file in files}
        self._changed = threading.Condition()
        self._order: list[_Chunk] = []
        self._next = 0
        self._held = 0
        self._fetching = 0
        self._closed = False
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def expect(self, extents: Iterable[Extent]) -> None:
        """Start to fetch these bytes, which will be read once each and in about this order."""
        order: dict[tuple[str, int], _Chunk] = {}
        for name, begin, end in extents:
            for chunk in self._covering(name, begin, end):
                chunk.left += min(end, chunk.end) - max(begin, chunk.begin)
                order.setdefault((name, chunk.number), chunk)
        self._order = _with_holes(order, self._files)
        for number in range(FETCHERS):
            thread = threading.Thread(target=self._fetch_all, name=f"fetch-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def read(self, name: str, begin: int, buffer: memoryview) -> None:
        """Fill `buffer` with the file's bytes from `begin` on. Raises HubError."""
        for chunk in self._covering(name, begin, begin + len(buffer)):
            first, last = max(begin, chunk.begin), min(begin + len(buffer), chunk.end)
            data = self._wait_for(chunk)
            if data is None:
                data, at = self._reader.read(self._files[name].remote, first, last), 0
            else:
                at = first - chunk.begin
            buffer[first - begin : last - begin] = memoryview(data)[at : at + last - first]
            self._consume(chunk, last - first)

    def finish(self) -> None:
        """Wait until everything expected has come and was hashed. Raises HubError, DownloadCorrupt."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._error is not None or (self._next == len(self._order) and not self._fetching)
            )
        self._raise()

    def unverified_reasons(self) -> Mapping[str, str | None]:
        """Return by file None if its sha256 is the Hub's, else the reason why that isn't known."""
        reasons: dict[str, str | None] = {}
        for name, file in self._files.items():
            if file.is_hashed and file.remote.sha256:
                reasons[name] = None
            else:
                reasons[name] = file.why or "not all of it was read"
        return reasons

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._reader.cancel()
        for thread in self._threads:
            thread.join()

    # --- readers

    def _covering(self, name: str, begin: int, end: int) -> Sequence[_Chunk]:
        if begin == end:
            return ()
        return self._files[name].chunks[begin // CHUNK_BYTES : (end - 1) // CHUNK_BYTES + 1]

    def _wait_for(self, chunk: _Chunk) -> bytearray | None:
        """Return the chunk's bytes when they are here; None if nobody will bring them."""
        with self._changed:
            while chunk.data is None:
                self._raise()
                coming = chunk.fetching or (self._next < len(self._order) and self._may_fetch())
                if not coming and not self._fetching:
                    return None
                if not chunk.fetching and not self._is_ahead(chunk):
                    return None
                self._changed.wait()
            return chunk.data

    def _is_ahead(self, chunk: _Chunk) -> bool:
        """True if the chunk is still to be fetched, soon."""
        return chunk.left > 0 and chunk in self._order[self._next : self._next + 256]

    def _consume(self, chunk: _Chunk, n_bytes: int) -> None:
        with self._changed:
            chunk.left = max(0, chunk.left - n_bytes)  # what is read before `expect` isn't taken from that
            self._drop_if_done(chunk)

    # --- fetchers

    def _may_fetch(self) -> bool:
        return self._held + self._fetching + CHUNK_BYTES <= self._budget

    def _fetch_all(self) -> None:
        try:
            while (chunk := self._claim()) is not None:
                data = self._reader.read(self._files[chunk.file].remote, chunk.begin, chunk.end)
                with self._changed:
                    chunk.data, chunk.fetching = data, False
                    self._held += len(data)
                self._hash(self._files[chunk.file])
                with self._changed:
                    self._fetching -= chunk.n_bytes
                    self._drop_if_done(chunk)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever reads
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _claim(self) -> _Chunk | None:
        """Wait for room and return the next chunk; None at the end."""
        with self._changed:
            while not self._closed and self._error is None:
                if self._next == len(self._order):
                    return None
                if self._may_fetch():
                    chunk = self._order[self._next]
                    self._next += 1
                    chunk.fetching = True
                    self._fetching += chunk.n_bytes
                    return chunk
                self._give_up_hashing()
                self._changed.wait()
            return None

    def _hash(self, file: _File) -> None:
        """Hash on, as far as the chunks are here one after the other. Raises DownloadCorrupt."""
        with file.lock:
            while file.why is None and file.next < len(file.chunks):
                chunk = file.chunks[file.next]
                data = chunk.data
                if data is None:
                    return
                file.sha256.update(data)
                file.next += 1
                with self._changed:
                    chunk.hashed = True
                    self._drop_if_done(chunk)
            expected = file.remote.sha256
            if file.is_hashed and expected and file.sha256.hexdigest() != expected:
                raise DownloadCorrupt(
                    f"{file.remote.path} arrived with another sha256 than the Hub's {expected[:12]}…; a proxy"
                    " or mirror may change it: try again later, or without HF_ENDPOINT"
                )

    def _give_up_hashing(self) -> None:
        """Make room, if possible: a file whose chunks stay only to be hashed is no longer hashed."""
        if self._fetching:
            return
        for file in self._files.values():
            waiting = [c for c in file.chunks if c.data is not None and c.left <= 0 and not c.hashed]
            if waiting and file.why is None:
                file.why = "its tensors were not read in the order of the file"
                for chunk in waiting:
                    self._drop_if_done(chunk)

    def _drop_if_done(self, chunk: _Chunk) -> None:
        hashed = chunk.hashed or self._files[chunk.file].why is not None
        if chunk.data is not None and chunk.left <= 0 and hashed:
            self._held -= len(chunk.data)
            chunk.data = None
            self._changed.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise HubError("the stream was closed while it was read")


def _cut(file: RemoteFile) -> list[_Chunk]:
    return [
        _Chunk(file.path, number, begin, min(begin + CHUNK_BYTES, file.size_bytes))
        for number, begin in enumerate(range(0, file.size_bytes, CHUNK_BYTES))
    ]


def _with_holes(order: Mapping[tuple[str, int], _Chunk], files: Mapping[str, _File]) -> list[_Chunk]:
    """Return the chunks in order, and those that nobody needs where they let a file be hashed whole."""
    chunks: list[_Chunk] = []
    n_fetched = dict.fromkeys(files, 0)
    for name, file in files.items():
        needed = {number for path, number in order if path == name}
        missing = sum(chunk.n_bytes for chunk in file.chunks if chunk.number not in needed)
        if missing > HOLES_BYTES:
            file.why = f"{missing:,} bytes of it are not needed, and were not read"
    for (name, number), chunk in order.items():
        if files[name].why is None:
            between = files[name].chunks[n_fetched[name] : number]
            chunks += [one for one in between if (name, one.number) not in order]
            n_fetched[name] = max(n_fetched[name], number + 1)
        chunks.append(chunk)
    for name, file in files.items():
        if file.why is None:
            chunks += [one for one in file.chunks[n_fetched[name] :] if (name, one.number) not in order]
    return chunks
