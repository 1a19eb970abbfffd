"""`DownloadPlan`: a download as data, before it runs: its files, and the bytes here already."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.errors import CheckpointError, DiskFull, HubError, HubUnreachable, ModelNotFound
from models.hub.cache import RepoCache, VerifiedNotes
from models.hub.files import RemoteFile, choose, is_model_gguf, is_projector_gguf
from models.paths import Paths
from models.reference import ModelRef
from models.store.atomic_write import TEMPORARY_SUFFIX
from models.weight_files import weight_map_of

DEFAULT_REVISION = "main"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to have. `present_bytes` of it are in the cache: all, or what an earlier run began."""

    file: RemoteFile
    present_bytes: int

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def size_bytes(self) -> int:
        return self.file.size_bytes


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The files of a download. `snapshot` is the folder in which all of them will be; `type` is a GGUF's.

    `unread_index` is the index on which the choice of weights depends, while it isn't here.
    """

    repo: str
    revision: str
    commit: str
    kind: Literal["checkpoint", "gguf"]
    type: str | None
    files: tuple[PlannedFile, ...]
    snapshot: Path
    online: bool
    unread_index: RemoteFile | None = None

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def cached_bytes(self) -> int:
        return sum(file.present_bytes for file in self.files)

    @property
    def fetch_bytes(self) -> int:
        return self.total_bytes - self.cached_bytes

    @property
    def gguf_paths(self) -> tuple[Path, ...]:
        """The paths that the GGUF's files will have, the one to load first; empty for a checkpoint."""
        return tuple(self.snapshot / file.path for file in self.files if is_model_gguf(file.path))

    @property
    def projector_path(self) -> Path | None:
        """The path that the projector beside a GGUF will have; None without one, and for a checkpoint."""
        paths = (self.snapshot / file.path for file in self.files if is_projector_gguf(file.path))
        return next(paths, None) if self.kind == "gguf" else None


def make_plan(
    ref: ModelRef,
    globs: Sequence[str],
    cache: RepoCache,
    commit: str,
    files: Sequence[RemoteFile],
    *,
    online: bool,
) -> DownloadPlan:
    """Choose among `files` and look which are in the cache. Raises as `files.choose`."""
    by_path = {file.path: file for file in files}

    def read_index(name: str) -> dict[str, str] | None:
        path = cache.find(by_path[name], commit)
        return None if path is None else _read_index(path, name, cache.repo)

    choice = choose(cache.repo, files, ref.type, globs, read_index)
    planned = []
    for file in choice.files:
        whole = cache.find(file, commit) is not None
        planned.append(PlannedFile(file, file.size_bytes if whole else cache.partial_bytes(file)))
    return DownloadPlan(
        repo=cache.repo,
        revision=ref.revision or DEFAULT_REVISION,
        commit=commit,
        kind=choice.kind,
        type=choice.type,
        files=tuple(planned),
        snapshot=cache.snapshot(commit),
        online=online,
        unread_index=choice.unread_index,
    )


def _read_index(path: Path, name: str, repo: str) -> dict[str, str]:
    try:
        return weight_map_of(json.loads(path.read_bytes()), name)
    except (OSError, ValueError, RecursionError) as error:
        raise HubError(f"{name} of {repo} can't be read ({error}); remove it, and pull again") from error
    except CheckpointError as error:
        raise HubError(f"{repo} can't be used: {error.message}") from error


def plan_from_cache(
    ref: ModelRef, globs: Sequence[str], cache: RepoCache, paths: Paths, why: str
) -> DownloadPlan:
    """Plan with what the cache has. Raises HubUnreachable, which begins with `why`, if it isn't complete."""
    fix = "connect, unset HF_HUB_OFFLINE, or choose a model that is here (corral list)"
    commit = cache.commit_of(ref.revision or DEFAULT_REVISION)
    if commit is None:
        raise HubUnreachable(f"{why}, and {ref.with_type(None)} is not in the cache {paths.hf_cache}; {fix}")
    files = VerifiedNotes(paths.verified_dir).listing(cache.repo, commit)
    if files is None:
        files = files_on_disk(cache.snapshot(commit))
    try:
        made = make_plan(ref, globs, cache, commit, files, online=False)
    except (HubError, ModelNotFound) as error:
        raise HubUnreachable(f"{why}, and in the cache {error.message}") from error
    missing = [file.path for file in made.files if cache.find(file.file, commit) is None]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise HubUnreachable(
            f"{why}, and the cache lacks {' '.join(missing[:5])}{more} of {cache.repo}; {fix}"
        )
    return made


def files_on_disk(snapshot: Path) -> list[RemoteFile]:
    """List what another tool has put into the cache.

    A link's target is named by the content's hash, and so is the blob that is the same file under a second
    name. A file that is neither, in a cache without links, is hashed.
    """
    blobs = _names_of_blobs(snapshot.parent.parent / "blobs")
    files = []
    for path in sorted(snapshot.rglob("*")):
        if not path.is_file() or path.name.endswith(TEMPORARY_SUFFIX):
            continue
        status = path.stat()
        etag = path.resolve().name if path.is_symlink() else blobs.get((status.st_dev, status.st_ino))
        if etag is None:
            etag = _sha256(path)
        name = path.relative_to(snapshot).as_posix()
        if len(etag) == 64:
            files.append(RemoteFile(name, status.st_size, sha256=etag, blob_id=None))
        elif len(etag) == 40:
            files.append(RemoteFile(name, status.st_size, sha256=None, blob_id=etag))
    return files


def _names_of_blobs(folder: Path) -> dict[tuple[int, int], str]:
    """Return the names of the blobs by device and inode."""
    try:
        return {(entry.stat().st_dev, entry.stat().st_ino): entry.name for entry in os.scandir(folder)}
    except OSError:
        return {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_free(plan: DownloadPlan, hf_cache: Path) -> None:
    """Raise DiskFull if what is to be fetched doesn't fit on the cache's disk."""
    folder = hf_cache
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if plan.fetch_bytes > free:
        raise DiskFull(
            f"{plan.repo} needs {plan.fetch_bytes:,} more bytes and the disk of {hf_cache} has {free:,} free;"
            f" free some, or set HF_HOME to another disk",
            f"{plan.repo} needs {plan.fetch_bytes:,} more bytes and the disk of this server has"
            f" {free:,} free; free some, then try again",
        )
