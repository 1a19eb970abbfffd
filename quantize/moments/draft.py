"""`MomentDraft`: a file of moments in the making, from which a later run goes on.

It is hidden beside its target:

    .NAME.part      the file itself, with the inputs that are done at their places; its room is taken at once
    .NAME.journal   which those are, by number; they are on the disk
    .NAME.sums      the sums of the inputs in work, as they were between two products: a line of JSON, arrays
    .NAME.lock      held by the process that writes

All belong to one header: of another model, text or layout, they are begun anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import filelock
import msgspec
import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.errors import ConfigError, DiskFull
from models.store.atomic_write import disk_errors, fsync_folder, write_pieces_atomically
from models.store.file_lock import acquire
from quantize.moments.inputs import Input
from quantize.moments.layout import CORRELATION, COUNTS, FIRST, HELD_OUT, VARIANCE, Layout
from quantize.moments.moments import InputName
from quantize.moments.sums import InputSum, n_first_rows, n_held_out_rows, sum_bytes
from quantize.run.journal import Journal, key_of

_SPARE_BYTES: Final = 1 << 20
"""The journal and the folder's entries take less than this."""


class _KeptSum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weight: str
    matrix: int
    n_rows: int
    n_first: int
    n_held_out: int
    next: tuple[int, int]


class _KeptHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    sums: tuple[_KeptSum, ...]


class MomentDraft(Closing):
    """The draft of the file at `target`. One thread. `done`: the inputs that need not be summed again."""

    def __init__(self, target: Path, layout: Layout) -> None:
        """Go on with the draft that is there if it has the same layout; else begin one.

        Raises ConfigError if another process writes it; DiskFull, StoreError.
        """
        self._target = target
        self._layout = layout
        self._key = hashlib.sha256(layout.header).hexdigest()
        self._numbers = {name: i for i, name in enumerate(_names(layout))}
        self._part, self._journal_path = _beside(target, "part"), _beside(target, "journal")
        self._sums = _beside(target, "sums")
        self._file: int | None = None
        with self._disk():
            try:
                self._lock = acquire(_beside(target, "lock"))
            except filelock.Timeout:
                raise ConfigError(
                    f"another process is writing {target}; wait for it, or give another --out"
                ) from None
        try:
            with self._disk():
                self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the draft as it is."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        self._lock.release()

    @property
    def done(self) -> set[InputName]:
        """The inputs that are on the disk."""
        return {name for name, number in self._numbers.items() if number in self._journal.done}

    def write(self, sums: Mapping[InputName, InputSum]) -> None:
        """Write inputs that are whole, and note it when they are on the disk. Raises DiskFull, StoreError."""
        assert self._file is not None, "the draft is closed"
        with self._disk():
            for name, one in sums.items():
                self._write(name, one)
            os.fsync(self._file)
            self._journal.add([self._numbers[name] for name in sums])
            self._sums.unlink(missing_ok=True)

    def keep(self, sums: Mapping[InputName, InputSum]) -> None:
        """Keep the sums of inputs in work in place of those that were kept. Raises DiskFull, StoreError."""
        kept = [
            _KeptSum(name.weight, name.matrix, one.n_rows, one.n_first, one.n_held_out, one.next)
            for name, one in sums.items()
        ]
        head = msgspec.json.encode(_KeptHead(self._key, tuple(kept))) + b"\n"
        arrays = (array.data.cast("B") for one in sums.values() for array in one.arrays())
        with self._disk():
            write_pieces_atomically(self._sums, (piece for part in ([head], arrays) for piece in part))

    def kept_names(self) -> list[InputName]:
        """Return the inputs whose sums are kept; none where the file isn't this draft's, or is damaged."""
        head = self._kept_head()
        return [InputName(one.weight, one.matrix) for one in head.sums] if head is not None else []

    def restore(self) -> dict[InputName, InputSum]:
        """Return the sums that are kept. Raises DiskFull, StoreError."""
        head = self._kept_head()
        if head is None:
            return {}
        inputs = {one.name: one for one in self._layout.inputs}
        sums = {}
        with self._disk(), self._sums.open("rb") as file:
            file.readline()
            for kept in head.sums:
                one = new_sum(inputs[kept.weight], self._layout)
                for array in one.arrays():
                    file.readinto(array.data.cast("B"))
                one.n_rows, one.n_first, one.n_held_out = kept.n_rows, kept.n_first, kept.n_held_out
                one.next = kept.next
                sums[InputName(kept.weight, kept.matrix)] = one
        return sums

    def finish(self) -> None:
        """Put the whole file in the target's place. Raises DiskFull, StoreError."""
        assert len(self._journal.done) == len(self._numbers), "every input is written"
        with self._disk():
            self._part.replace(self._target)
            fsync_folder(self._target.absolute().parent)
            for path in (self._journal_path, self._sums, _beside(self._target, "lock")):
                path.unlink(missing_ok=True)

    def _open(self) -> None:
        is_ours = key_of(self._journal_path) == self._key and self._part.is_file()
        if not is_ours or self._part.stat().st_size != self._layout.size_bytes:
            self._part.unlink(missing_ok=True)
            self._journal_path.unlink(missing_ok=True)
            self._check_room()
        self._file = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.posix_fallocate(self._file, 0, self._layout.size_bytes)
        self._pwrite(self._layout.header, 0)
        os.fsync(self._file)
        self._journal = Journal(self._journal_path, self._key)
        if self._kept_head() is None:
            self._sums.unlink(missing_ok=True)

    def _check_room(self) -> None:
        folder = self._target.absolute().parent
        free, needed = shutil.disk_usage(folder).free, self._layout.size_bytes + _SPARE_BYTES
        if free < needed:
            raise DiskFull(
                f"{self._target.name} takes {needed:,} bytes and {free:,} are free on the disk of {folder}; "
                "free some, or give another --out"
            )

    def _write(self, name: InputName, one: InputSum) -> None:
        counts = np.asarray([one.n_rows, one.n_first, one.n_held_out], "<i4")
        self._put(name, COUNTS, [counts])
        self._put(name, VARIANCE, [one.variance().astype("<f4")])
        self._put(name, CORRELATION, (part.astype("<f2") for part in one.correlations()))
        self._put(name, FIRST, [one.first.astype("<f4")])
        self._put(name, HELD_OUT, [one.held_out.astype("<f4")])

    def _put(self, name: InputName, suffix: str, pieces: Iterable[npt.NDArray[Any]]) -> None:
        place = self._layout.places.get(name.weight + suffix)
        if place is None:
            return
        at = place.start + name.matrix * place.nbytes
        for piece in pieces:
            self._pwrite(np.ascontiguousarray(piece).data.cast("B"), at)
            at += piece.nbytes
        assert at == place.start + (name.matrix + 1) * place.nbytes, f"{name}{suffix}"

    def _pwrite(self, data: bytes | memoryview, at: int) -> None:
        assert self._file is not None, "the draft is closed"
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, at)
            view, at = view[written:], at + written

    def _kept_head(self) -> _KeptHead | None:
        """Return what the kept sums say of themselves, checked against the file's length; None if no good."""
        inputs = {one.name: one for one in self._layout.inputs}
        try:
            with self._sums.open("rb") as file:
                line = file.readline()
                head = msgspec.json.decode(line, type=_KeptHead)
                size = os.fstat(file.fileno()).st_size
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        needed = len(line)
        for kept in head.sums:
            one = inputs.get(kept.weight)
            if head.key != self._key or one is None or not 0 <= kept.matrix < one.n_matrices:
                return None
            needed += sum_bytes(one, self._layout.sampling)
        return head if size == needed else None

    def _disk(self) -> AbstractContextManager[None]:
        return disk_errors(f"write {self._target.name}", self._target.absolute().parent, "--out")


def new_sum(one: Input, layout: Layout) -> InputSum:
    """Return an empty sum of one of the input's matrices."""
    sampling = layout.sampling
    return InputSum(one.width, n_first_rows(one, sampling), n_held_out_rows(one, sampling))


def _names(layout: Layout) -> Iterator[InputName]:
    for one in layout.inputs:
        yield from one.units()


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")
