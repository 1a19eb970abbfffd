"""The folder of kept prefixes, of all models together: bounded in size, shared by processes that know nothing
of each other. Each file may vanish at any moment."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from models.store.atomic_write import TEMPORARY_SUFFIX, disk_errors
from server.worker.prefix.file import SUFFIX

FREE_SHARE = 0.25
"""Of the disk's free space and the folder's own, what the folder may have at most."""
_ABANDONED_S = 3600.0


def sweep(root: Path, folder: Path) -> list[Path]:
    """Make `folder`, below `root`, delete what writers that died have left, and list its files.

    Only this user may read there: prompts are private. Raises StoreError.
    """
    with disk_errors("keep prefixes", folder):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        old_s = time.time() - _ABANDONED_S
        for path in root.glob(f"*/.*{TEMPORARY_SUFFIX}"):
            if _age(path) < old_s:
                path.unlink(missing_ok=True)
        return sorted(folder.glob(f"*{SUFFIX}"))


def make_room(root: Path, n_bytes: int, max_bytes: int) -> bool:
    """Delete the files used longest ago until one of `n_bytes` can be added; False if it never can."""
    files = []
    for path in root.glob(f"*/*{SUFFIX}"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        files.append((status.st_mtime_ns, status.st_size, path))
    n_held = sum(size for _, size, _ in files)
    limit = min(max_bytes, int((n_held + shutil.disk_usage(root).free) * FREE_SHARE))
    if n_bytes > limit:
        return False
    for _, size, path in sorted(files):
        if n_held + n_bytes <= limit:
            break
        path.unlink(missing_ok=True)
        n_held -= size
    return True


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
