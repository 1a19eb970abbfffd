"""`ResultFiles`: a batch's answers and errors as they come, in two files that outlive the server.

The files themselves say which lines are answered: a result counts when its whole line is in its file. A line
that a killed server has left half written is cut off, and so answered again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from models.errors import StoreError
from server.batches.records import Counts
from server.batches.upload import sync_folder, write_all, writing
from server.openai import sse


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one line, as its file has it."""

    id: str
    custom_id: str
    response: Response | None
    error: ResultError | None = None

    @property
    def is_answer(self) -> bool:
        """True if it goes to the answers."""
        return self.error is None and self.response is not None and self.response.status_code < 400


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP answer that a line got."""

    status_code: int
    request_id: str | None
    body: msgspec.Raw


class ResultError(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why a line got none."""

    code: str
    message: str


class _Kept(msgspec.Struct):
    custom_id: str


class ResultFiles:
    """Two files that only grow. Used by one thread at a time. Raises StoreError."""

    def __init__(self, output: Path, errors: Path) -> None:
        """Open the files, which may be there already."""
        self._answers = _ResultFile(output)
        self._errors = _ResultFile(errors)

    def answered(self) -> set[str]:
        """Return the custom ids of the lines that have a result."""
        return {*self._answers.custom_ids, *self._errors.custom_ids}

    def counts(self, total: int) -> Counts:
        """Return how far the batch has come."""
        return Counts(
            total=total, completed=len(self._answers.custom_ids), failed=len(self._errors.custom_ids)
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """The bytes of the answers and of the errors."""
        return self._answers.n_bytes, self._errors.n_bytes

    def append(self, results: Sequence[Result]) -> None:
        """Add results, each whole and on the disk when this returns; after an error, none of a file."""
        for file, its_answer in ((self._answers, True), (self._errors, False)):
            own = [result for result in results if result.is_answer == its_answer]
            if own:
                file.append(own)

    def close(self) -> None:
        """Close both files, and delete the one that is empty."""
        self._answers.close()
        self._errors.close()


class _ResultFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.custom_ids: set[str] = set()
        self.n_bytes = 0
        with writing(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            sync_folder(path.parent)
            self._read()

    def append(self, results: Sequence[Result]) -> None:
        lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
        data = sse.escape_line_ends(lines)
        try:
            with writing(self._path):
                write_all(self._fd, data)
                os.fsync(self._fd)
        except StoreError:
            os.ftruncate(self._fd, self.n_bytes)
            raise
        self.n_bytes += len(data)
        self.custom_ids.update(result.custom_id for result in results)

    def close(self) -> None:
        os.close(self._fd)
        if not self.n_bytes:
            self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        """Note what is there, up to the first line that isn't whole."""
        with self._path.open("rb") as file:
            for raw in file:
                try:
                    kept = msgspec.json.decode(raw, type=_Kept)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    break
                if not raw.endswith(b"\n"):
                    break
                self.custom_ids.add(kept.custom_id)
                self.n_bytes += len(raw)
        os.ftruncate(self._fd, self.n_bytes)
