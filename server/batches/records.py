"""Files and batches as they are kept, and as clients see them. Pure.

A batch goes one way: validating → in_progress → finalizing → completed; from the first two also to failed,
expired, or cancelling → cancelled.
"""

from __future__ import annotations

import secrets
from typing import Any, Literal

import msgspec

Purpose = Literal["batch", "batch_output"]
Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]

ACTIVE: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
"""In one of these there is work to do."""
CANCELLABLE: tuple[Status, ...] = ("validating", "in_progress")

DAY_S = 24 * 3600
FILE_S = 30 * DAY_S
"""A file is kept for so many seconds unless its client says otherwise: OpenAI's term for batches' files."""


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One file. Its content lies under its id in the folder of the files."""

    id: str
    owner: str
    filename: str
    purpose: Purpose
    n_bytes: int
    created: int
    expires: int

    def body(self) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.n_bytes,
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """A reason why a batch can't be run; `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a batch's lines."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One batch. Times are Unix seconds; None: that hasn't happened."""

    id: str
    owner: str
    endpoint: str
    input_file: str
    completion_window: str
    metadata: dict[str, str] | None
    created: int
    expires: int
    output_s: int = FILE_S
    """The files of its answers are kept for so many seconds."""
    output_file: str
    """The id of the file of answers, which is shown once it is whole."""
    error_file: str
    """The same for the lines without an answer."""
    status: Status = "validating"
    errors: tuple[LineError, ...] = ()
    counts: Counts = Counts()
    has_output: bool = False
    has_errors: bool = False
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    def body(self) -> dict[str, Any]:
        """Return OpenAI's batch object."""
        errors = {"object": "list", "data": [msgspec.to_builtins(error) for error in self.errors]}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": errors if self.errors else None,
            "input_file_id": self.input_file,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file if self.has_output else None,
            "error_file_id": self.error_file if self.has_errors else None,
            "created_at": self.created,
            "in_progress_at": self.in_progress_at,
            "expires_at": self.expires,
            "finalizing_at": self.finalizing_at,
            "completed_at": self.completed_at,
            "failed_at": self.failed_at,
            "expired_at": self.expired_at,
            "cancelling_at": self.cancelling_at,
            "cancelled_at": self.cancelled_at,
            "request_counts": msgspec.to_builtins(self.counts),
            "metadata": self.metadata,
        }


class StorageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that is kept."""

    file_bytes: int
    """One uploaded file has at most so many bytes."""
    total_bytes: int
    """All files together have at most so many bytes."""
    n_records: int = 10_000
    """There are at most so many files, and so many batches."""


class Missing(Exception):
    """There is no such file or batch, or it is another owner's."""

    def __init__(self, record_id: str) -> None:
        super().__init__(record_id)
        self.record_id = record_id


def new_file_id() -> str:
    """Return a fresh id of a file."""
    return f"file-{secrets.token_hex(12)}"


def new_batch_id() -> str:
    """Return a fresh id of a batch."""
    return f"batch_{secrets.token_hex(16)}"
