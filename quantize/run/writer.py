"""The writer of one output, in one file or in parts: every byte has its place from the start.

Several threads write blocks side by side, wherever they belong. A thread per output hashes what lies complete
from the beginning, reading it back while it is in the page cache, so hashing holds nobody up. Nothing here
makes a file visible to anyone: it lies in a work folder until it is whole.

    thread 1 ── pwrite ──▶ ┌────────┬───────────┬ ─ ─ ─ ─ ┬──────────┐
    thread 2 ── pwrite ──▶ │ header │ tensor 0  │ (hole)   │ tensor 2 │
                           └────────┴───────────┴ ─ ─ ─ ─ ┴──────────┘
    hasher   ◀── pread ─── └─ complete: hashed ─┘
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.closing import Closing
from quantize.plan.plan import PlannedFile
from quantize.plan.split import PlannedPart, parts
from quantize.run.encode import Encoded

_HASHED_AT_ONCE: Final = 2**20


@dataclass(frozen=True)
class WrittenFile:
    """A complete output on disk. `paths`: its parts, mostly one; `path`: the one to load; `sha256` each."""

    type: str
    paths: tuple[Path, ...]
    size_bytes: int
    sha256: tuple[str, ...]
    bits_per_weight: float
    tensor_count: int
    quality: Mapping[str, Any] | None = None
    """The figures that were measured of the file before it was published."""

    @property
    def path(self) -> Path:
        return self.paths[0]


class GGUFFileWriter(Closing):
    """Writes one planned output. `write` and `complete` may be called from any thread."""

    def __init__(
        self,
        plan: PlannedFile,
        paths: Path | Sequence[Path],
        *,
        layout: Sequence[PlannedPart] | None = None,
        done: Iterable[int] | None = None,
    ) -> None:
        """Create the files with their headers; or with `done`, open them again: those tensors are written.

        `layout`: the parts, one for each of `paths`. Raises OSError.
        """
        self.plan = plan
        self._layout = tuple(layout) if layout is not None else parts(plan)
        self._paths = (paths,) if isinstance(paths, Path) else tuple(paths)
        self._part_of = [number for number, part in enumerate(self._layout) for _ in part.tensors]
        self._fds: list[int] = []
        self.n_bytes = 0
        """The bytes that are written so far, headers and padding included; for progress."""
        self._lock = threading.Lock()
        try:
            for part, path in zip(self._layout, self._paths, strict=True):
                self._open(part, path, create=done is None)
        except BaseException:  # half open: nobody else closes it
            self._close_files()
            raise
        self._hashers = [_Hasher(fd, part) for fd, part in zip(self._fds, self._layout, strict=True)]
        for tensor in filter(plan.has, done or ()):
            self.n_bytes += plan.bytes_of(tensor)
            self.complete(tensor)

    def write(self, tensor: int, offset: int, data: Encoded) -> None:
        """Write bytes of the plan's tensor number `tensor`, `offset` bytes after its beginning. Raises
        OSError.
        """
        number = self._part_of[tensor - self.plan.first]
        part = self._layout[number]
        assert offset + data.nbytes <= self.plan.bytes_of(tensor), "more than the tensor has"
        _write_all(self._fds[number], data.data, part.place(tensor) + offset)
        with self._lock:
            self.n_bytes += data.nbytes

    def complete(self, tensor: int) -> None:
        """Take note that all bytes of the tensor are written: it may be hashed."""
        number = self._part_of[tensor - self.plan.first]
        self._hashers[number].complete(tensor)

    def sync(self) -> None:
        """Return when what was written before is on the disk. Raises OSError."""
        for fd in self._fds:
            os.fdatasync(fd)

    def finish(self) -> WrittenFile:
        """Sync to disk and close. All tensors must have been completed."""
        for fd in self._fds:
            os.fsync(fd)
        digests = tuple(hasher.finish() for hasher in self._hashers)
        self._close_files()
        return WrittenFile(
            type=self.plan.type,
            paths=self._paths,
            size_bytes=sum(part.size_bytes for part in self._layout),
            sha256=digests,
            bits_per_weight=self.plan.bits_per_weight,
            tensor_count=len(self.plan.tensors),
        )

    def close(self) -> None:
        """Give up what isn't finished: the files stay as they are."""
        for hasher in self._hashers:
            hasher.cancel()
        self._close_files()

    def _open(self, part: PlannedPart, path: Path, *, create: bool) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        fd = os.open(path, flags, 0o666)
        self._fds.append(fd)
        if create:
            os.ftruncate(fd, part.size_bytes)  # holes read as the zeros that padding is
            _write_all(fd, memoryview(part.header), 0)
        self.n_bytes += part.size_bytes - sum(part.tensor_bytes)

    def _close_files(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


class _Hasher:
    """The sha256 of one file, in a thread that follows the tensors that are complete from the first on."""

    def __init__(self, fd: int, part: PlannedPart) -> None:
        self._fd = fd
        self._part = part
        self._changed = threading.Condition()
        self._complete: set[int] = set()
        self._next = part.first
        self._cancelled = False
        self._error: BaseException | None = None
        self._sha256 = hashlib.sha256()
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
        self._thread.start()

    def complete(self, tensor: int) -> None:
        with self._changed:
            self._complete.add(tensor)
            if tensor == self._next:
                self._changed.notify()

    def finish(self) -> str:
        """Return the file's digest when all of it is hashed. Raises OSError."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._sha256.hexdigest()

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        end = self._part.first + len(self._part.tensors)
        position = 0
        buffer = bytearray(_HASHED_AT_ONCE)
        try:
            while not self._cancelled:
                with self._changed:
                    while self._next in self._complete:
                        self._complete.remove(self._next)
                        self._next += 1
                    done = self._next == end
                    limit = self._part.size_bytes if done else self._part.place(self._next)
                    if position == limit and not done and not self._cancelled:
                        self._changed.wait()
                        continue
                if position == limit:
                    return
                position = self._hash(position, limit, memoryview(buffer))
        except OSError as error:
            self._error = error

    def _hash(self, position: int, limit: int, buffer: memoryview) -> int:
        while position < limit and not self._cancelled:
            n_read = os.preadv(self._fd, [buffer[: limit - position]], position)
            if n_read == 0:
                raise OSError(0, "the file became shorter while it was written")
            self._sha256.update(buffer[:n_read])
            position += n_read
        return position


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        n_written = os.pwrite(fd, data, offset)
        data, offset = data[n_written:], offset + n_written


def allocated_bytes(paths: Iterable[Path]) -> int:
    """Return the bytes that the files take on the disk: less than their sizes where there are holes."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += path.stat().st_blocks * 512
    return total
