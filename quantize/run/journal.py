"""The journal of a work folder, and the thread that keeps it: tensors that are on the disk for good.

    {"version": 1, "key": "…"}          whose work it is: the plan and its source
    {"tensors": [0, 1, 2]}              synced before this line was written
    {"tensors": [3, 5]}

A line that was cut short by a kill doesn't count, nor does any after it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from models.store.atomic_write import write_atomically
from quantize.run.options import SAVE_EVERY_S
from quantize.run.writer import GGUFFileWriter

JOURNAL_NAME: Final = "journal"


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    version: Literal[1] = 1


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tensors: tuple[int, ...]


class Journal:
    """The journal of one work folder. `done`: the plan's tensors, by number, that need not be made again."""

    def __init__(self, path: Path, key: str) -> None:
        """Read what is there if it has the same `key`; else begin an empty journal. Raises OSError."""
        self._path, self._key = path, key
        self.done, n_bytes = _read(path, key)
        self._taken_back: set[int] = set()
        if n_bytes:
            os.truncate(path, n_bytes)  # a line that was cut short must not be continued
        else:
            path.write_bytes(self._whole())

    def add(self, tensors: Iterable[int]) -> None:
        """Note that these tensors are on the disk; return when the note is there too. Raises OSError."""
        line = _Line(tuple(tensor for tensor in tensors if tensor not in self._taken_back))
        if not line.tensors:
            return
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(fd, _encoded(line))
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self.done.update(line.tensors)

    def take_back(self, tensors: Iterable[int]) -> None:
        """Note that these tensors are not what they should be; return when the note is there. Raises OSError.

        They aren't noted again: a later run makes all of them, however many were made in another way now.
        """
        self._taken_back.update(tensors)
        self.done -= self._taken_back
        write_atomically(self._path, self._whole())

    def _whole(self) -> bytes:
        lines = _encoded(_Line(tuple(sorted(self.done)))) if self.done else b""
        return _encoded(_Head(self._key)) + lines


class Saver:
    """The thread that makes progress durable: it syncs the files, then journals what was whole before.

    It also keeps small what is not yet on the disk, so that the last sync takes no time of its own. It runs
    for as long as the `with` block; what is whole when the block is left by an error is saved, too.
    """

    def __init__(
        self, writers: Sequence[GGUFFileWriter], journal: Journal | None, every_s: float = SAVE_EVERY_S
    ) -> None:
        """Sync `writers` every `every_s` seconds; without a `journal`, nothing is noted."""
        self._writers = writers
        self._journal = journal
        self._every_s = every_s
        self._whole: list[int] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="save", daemon=True)

    def complete(self, tensor: int) -> None:
        """Take note that all bytes of the plan's tensor number `tensor` are written to every file."""
        with self._lock:
            self._whole.append(tensor)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if error is not None:
            self._save()

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            self._save()

    def _save(self) -> None:
        """Sync and journal. A disk that fails is no matter here: writing or the last sync will raise it."""
        with self._lock:
            whole, self._whole = self._whole, []
        if not whole:
            return
        try:
            for writer in self._writers:
                writer.sync()
            if self._journal is not None:
                self._journal.add(whole)
        except OSError:
            return


def key_of(path: Path) -> str | None:
    """Return the key of the journal at `path`; None if there is none, or none that can be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.readline(), type=_Head).key
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _read(path: Path, key: str) -> tuple[set[int], int]:
    """Return the tensors of a journal's whole lines, and the bytes of these; none if it has another key."""
    done: set[int] = set()
    lines = path.read_bytes().split(b"\n")[:-1] if key_of(path) == key else []
    if not lines:
        return done, 0
    n_bytes = len(lines[0]) + 1
    for line in lines[1:]:
        try:
            done.update(msgspec.json.decode(line, type=_Line).tensors)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            break
        n_bytes += len(line) + 1
    return done, n_bytes


def _encoded(struct: msgspec.Struct) -> bytes:
    return msgspec.json.encode(struct) + b"\n"
