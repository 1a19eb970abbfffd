"""`BatchStore`: files and batches for the event loop: records, and the files' content in a folder.

Records are used in a thread of their own, contents in others. Nobody sees what belongs to another owner.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from models.errors import NotKept, RequestError
from server.batches.database import BatchDatabase
from server.batches.records import (
    CANCELLABLE,
    BatchRecord,
    Counts,
    FileRecord,
    Missing,
    Status,
    StorageLimits,
    new_file_id,
)
from server.batches.upload import Upload
from server.state.state_thread import StateThread

logger = logging.getLogger("corral.batches")

R = TypeVar("R")

_OFF = NotKept("this server keeps no files and batches: batches is false")
ORPHAN_S = 24 * 3600
"""A file without a record is left over from a killed upload when it is so many seconds old."""


class BatchStore:
    """Methods raise NotKept for what isn't there, and StoreError where something can't be read or written."""

    def __init__(self, folder: Path | None, limits: StorageLimits) -> None:
        self._folder = folder
        self.limits = limits
        self.on_change: Callable[[], None] = lambda: None
        """Called when a batch is new, or is to be cancelled."""
        self._state = StateThread(partial(BatchDatabase, (folder or Path()) / "batches.sqlite"), "batches")
        self._unrecorded: dict[str, int] = {}
        """The bytes of files that are being written."""

    @classmethod
    def off(cls) -> BatchStore:
        """Return a store that keeps nothing."""
        return cls(None, StorageLimits(file_bytes=0, total_bytes=0))

    @property
    def is_on(self) -> bool:
        """True if files and batches are kept."""
        return self._folder is not None

    @property
    def folder(self) -> Path:
        """The folder of all that is kept. Raises NotKept where nothing is."""
        if self._folder is None:
            raise _OFF
        return self._folder

    def path(self, file_id: str) -> Path:
        """Return the place of a file's content."""
        return self.folder / "files" / file_id

    def close(self) -> None:
        """Close the file of the records after the calls so far; the object may be used no more."""
        self._state.close()

    # --- files ---

    async def begin_upload(self) -> Upload:
        """Return a new file to write. Raises RequestError where there is no room for one."""
        file_id = new_file_id()
        await self.check_room(file_id, 0)
        try:
            return await asyncio.to_thread(Upload, self.path(file_id))
        except BaseException:  # a cancelled one gives its place back, too
            self.forget(file_id)
            raise

    async def check_room(self, file_id: str, n_bytes: int) -> None:
        """Note that a file without a record has so many bytes. Raises RequestError if that is too many."""
        self._unrecorded[file_id] = n_bytes
        n_files, n_kept = await self._run(BatchDatabase.file_totals)
        n_all = n_kept + sum(self._unrecorded.values())
        if n_all > self.limits.total_bytes:
            raise _storage_full(
                f"the files of this server would have {n_all:,} bytes; the limit is "
                f"{self.limits.total_bytes:,}; delete some, or raise files_bytes"
            )
        if n_files + len(self._unrecorded) > self.limits.n_records:
            raise _storage_full(
                f"this server has {n_files:,} files; the limit is {self.limits.n_records:,}; delete some"
            )

    def forget(self, file_id: str) -> None:
        """Note that a file is written no more."""
        self._unrecorded.pop(file_id, None)

    async def add_file(self, record: FileRecord) -> None:
        """Keep the record of a file whose content is in its place."""
        await self._run(lambda state: state.add_file(record))

    async def file(self, owner: str, file_id: str) -> FileRecord:
        """Return a file's record. One whose time is over is gone, whenever its content goes."""
        record = await self._known("File", lambda state: state.file(owner, file_id))
        if record.expires <= time.time():
            raise _not_found("File", file_id)
        return record

    async def files(self, owner: str) -> list[FileRecord]:
        """Return an owner's files, the oldest first."""
        now = time.time()
        return [each for each in await self._run(lambda state: state.files(owner)) if each.expires > now]

    async def delete_file(self, owner: str, file_id: str) -> None:
        """Delete a file. Raises RequestError for the input of a batch that isn't done."""
        await self.file(owner, file_id)
        for batch in await self._run(BatchDatabase.active_batches):
            if batch.input_file == file_id:
                raise RequestError(
                    f"the file {file_id} is the input of the batch {batch.id}, which is {batch.status}; "
                    "cancel that first",
                    param="file_id",
                    code="file_in_use",
                )
        await self._known("File", lambda state: state.delete_file(owner, file_id))
        await asyncio.to_thread(self.path(file_id).unlink, missing_ok=True)

    async def sweep(self) -> None:
        """Delete the files whose time is over, and what killed uploads have left."""
        gone = await self._run(lambda state: state.expire_files(time.time()))
        names = await asyncio.to_thread(_old_names, self.folder / "files")
        writing = set(self._unrecorded)
        known = await self._run(BatchDatabase.known_files)
        gone += [name for name in names if name.removesuffix(".part") not in known | writing]
        for name in gone:
            await asyncio.to_thread(self.path(name).unlink, missing_ok=True)
        if gone:
            logger.info("deleted %d files whose time was over", len(gone))

    # --- batches ---

    async def add_batch(self, record: BatchRecord) -> None:
        """Keep a new batch, which begins soon."""
        await self._run(lambda state: state.add_batch(record, self.limits.n_records))
        self.on_change()

    async def batch(self, owner: str, batch_id: str) -> BatchRecord:
        """Return a batch."""
        return await self._known("Batch", lambda state: state.batch(owner, batch_id))

    async def batches(self, owner: str) -> list[BatchRecord]:
        """Return an owner's batches, the oldest first."""
        return await self._run(lambda state: state.batches(owner))

    async def active_batches(self) -> list[BatchRecord]:
        """Return everybody's batches that haven't ended, the oldest first."""
        return await self._run(BatchDatabase.active_batches)

    async def cancel_batch(self, owner: str, batch_id: str) -> BatchRecord:
        """Let a batch be cancelled soon. Raises RequestError for one that is at its end."""

        def with_cancel(record: BatchRecord) -> BatchRecord:
            return msgspec.structs.replace(record, status="cancelling", cancelling_at=int(time.time()))

        record = await self.change_batch(owner, batch_id, CANCELLABLE, with_cancel)
        if record.status not in ("cancelling", "cancelled"):
            raise RequestError(
                f"Cannot cancel a batch with status '{record.status}'.", param="batch_id", code="batch_ended"
            )
        self.on_change()
        return record

    async def change_batch(
        self,
        owner: str,
        batch_id: str,
        allowed: Sequence[Status],
        change: Callable[[BatchRecord], BatchRecord],
        files: Sequence[FileRecord] = (),
    ) -> BatchRecord:
        """Change a batch in one of the `allowed` states, and keep `files` with it; return it as it is now."""
        return await self._known(
            "Batch", lambda state: state.change_batch(owner, batch_id, allowed, change, files)
        )

    async def note_counts(self, owner: str, batch_id: str, counts: Counts) -> None:
        """Keep how far a batch has come."""
        await self.change_batch(
            owner,
            batch_id,
            ("in_progress", "cancelling"),
            lambda record: msgspec.structs.replace(record, counts=counts),
        )

    # --- inside ---

    async def _known(self, kind: str, action: Callable[[BatchDatabase], R]) -> R:
        try:
            return await self._run(action)
        except Missing as error:
            raise _not_found(kind, error.record_id) from error

    async def _run(self, action: Callable[[BatchDatabase], R]) -> R:
        if not self.is_on:
            raise _OFF
        return await self._state.run(action)


def _not_found(kind: str, record_id: str) -> NotKept:
    return NotKept(f"{kind} with id '{record_id[:128]}' not found.", param="id")


def _storage_full(message: str) -> RequestError:
    return RequestError(message, param="file", code="storage_full")


def _old_names(folder: Path) -> list[str]:
    """Return the names of the files that nobody can be writing still."""
    if not folder.is_dir():
        return []
    names = []
    for path in folder.iterdir():
        try:
            is_old = path.stat().st_mtime < time.time() - ORPHAN_S
        except FileNotFoundError:
            continue
        if is_old:
            names.append(path.name)
    return names
