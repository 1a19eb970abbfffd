"""The Hub's cache on this machine, in the layout that all its tools share, and notes about it.

    models--org--name/blobs/<etag>               the bytes, named by their hash
    models--org--name/blobs/<etag>.incomplete    bytes so far
    models--org--name/snapshots/<commit>/<path>  a link to a blob
    models--org--name/refs/<revision>            the commit of a branch or tag

Notes are in CORRAL_HOME/verified: which blobs were hashed and found right, and what a repository lists at
a commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import shutil
from pathlib import Path

import msgspec

from models.hub.files import RemoteFile
from models.store.atomic_write import is_unwritable, write_atomically

_log = logging.getLogger("corral.hub")

_COMMIT = re.compile(r"[0-9a-f]{40}")


class RepoCache:
    """Paths and links of one repository in the cache."""

    def __init__(self, hf_cache: Path, repo: str) -> None:
        self.hf_cache = hf_cache
        self.repo = repo
        self.folder = hf_cache / f"models--{repo.replace('/', '--')}"

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def blob(self, file: RemoteFile) -> Path:
        return self.folder / "blobs" / file.etag

    def partial(self, file: RemoteFile) -> Path:
        return self.folder / "blobs" / f"{file.etag}.incomplete"

    def lock(self, file: RemoteFile) -> Path:
        """Return the path of the lock that every tool holds while it fetches this blob."""
        return self.hf_cache / ".locks" / self.folder.name / f"{file.etag}.lock"

    def find(self, file: RemoteFile, commit: str) -> Path | None:
        """Return where the file's bytes are; None unless the cache has as many as the Hub says."""
        for path in (self.snapshot(commit) / file.path, self.blob(file)):
            with contextlib.suppress(OSError):
                if path.stat().st_size == file.size_bytes:
                    return path
        return None

    def partial_bytes(self, file: RemoteFile) -> int:
        """Return the number of bytes that an earlier run has fetched."""
        try:
            return min(self.partial(file).stat().st_size, file.size_bytes)
        except OSError:
            return 0

    def link(self, file: RemoteFile, commit: str, *, is_new: bool) -> None:
        """Make the snapshot's link to the blob.

        Where the file system has no symbolic links it is a second name of the blob, and where it has no links
        at all the file itself (a copy, unless the blob `is_new`), as huggingface_hub does.
        """
        pointer, blob = self.snapshot(commit) / file.path, self.blob(file)
        if _same(pointer, blob) or not blob.exists():
            return
        pointer.parent.mkdir(parents=True, exist_ok=True)
        temporary = pointer.with_name(f".{pointer.name}.{secrets.token_hex(4)}.tmp")
        try:
            temporary.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:
            try:
                temporary.hardlink_to(blob)
            except OSError:
                _move(blob, temporary, keep=not is_new)
        temporary.replace(pointer)

    def drop(self, file: RemoteFile, commit: str) -> None:
        """Forget bytes that turned out wrong."""
        for path in (self.snapshot(commit) / file.path, self.blob(file), self.partial(file)):
            path.unlink(missing_ok=True)

    def commit_of(self, revision: str) -> str | None:
        """Return the commit last seen for a branch or tag, None if none; a cached commit is its own."""
        if _COMMIT.fullmatch(revision):
            return revision if self.snapshot(revision).is_dir() else None
        try:
            commit = (self.folder / "refs" / revision).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if _COMMIT.fullmatch(commit) else None

    def write_ref(self, revision: str, commit: str) -> None:
        """Remember that `revision` is `commit`."""
        if revision == commit or self.commit_of(revision) == commit:
            return
        path = self.folder / "refs" / revision
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, commit.encode())


class _Mark(msgspec.Struct, frozen=True):
    size_bytes: int
    mtime_ns: int


class _Listing(msgspec.Struct, frozen=True):
    files: list[RemoteFile]


class VerifiedNotes:
    """Corral's notes of what was checked already. Losing a note costs a second check, nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_verified(self, file: RemoteFile, path: Path) -> bool:
        """True if the bytes at `path` were hashed, found right, and not touched since."""
        try:
            mark = msgspec.json.decode(self._mark_path(file, path).read_bytes(), type=_Mark)
            return mark == _mark(path)
        except (OSError, msgspec.MsgspecError):
            return False

    def mark(self, file: RemoteFile, path: Path) -> None:
        self._write(self._mark_path(file, path), msgspec.json.encode(_mark(path)))

    def listing(self, repo: str, commit: str) -> list[RemoteFile] | None:
        """Return what the Hub listed for `commit`, for when it can't be reached; None if that isn't kept."""
        try:
            data = self._listing_path(repo, commit).read_bytes()
            return msgspec.json.decode(data, type=_Listing).files
        except (OSError, msgspec.MsgspecError):
            return None

    def save_listing(self, repo: str, commit: str, files: list[RemoteFile]) -> None:
        path = self._listing_path(repo, commit)
        if not path.exists():
            self._write(path, msgspec.json.encode(_Listing(files)))

    def _write(self, path: Path, data: bytes) -> None:
        """Keep a note; where nothing can be written there is none."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        except OSError as error:
            if not is_unwritable(error):
                raise
            _log.debug("%s can't be written: no note is kept there", self._folder)

    def _mark_path(self, file: RemoteFile, path: Path) -> Path:
        place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
        return self._folder / f"{file.etag}-{place}.json"

    def _listing_path(self, repo: str, commit: str) -> Path:
        return self._folder / "listings" / repo.replace("/", "--") / f"{commit}.json"


def _mark(path: Path) -> _Mark:
    status = path.stat()
    return _Mark(status.st_size, status.st_mtime_ns)


def _move(blob: Path, target: Path, *, keep: bool) -> None:
    """Give the bytes to `target`, the blob staying if `keep`. What fails halfway leaves nothing of it."""
    try:
        if keep:
            shutil.copyfile(blob, target)
        else:
            blob.rename(target)
    except BaseException:  # Ctrl-C leaves no half file either
        target.unlink(missing_ok=True)
        raise


def _same(pointer: Path, blob: Path) -> bool:
    try:
        return pointer.samefile(blob)
    except OSError:
        return False
