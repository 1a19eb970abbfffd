"""`fingerprint`: a local checkpoint's stand-in for a commit, which changes when its files do."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.store.atomic_write import disk_errors

_READ_BYTES = 1 << 20


def fingerprint(path: Path, *, contents: bool = False) -> str:
    """Return `local-` and 16 hex digits over the file's, or the folder's files', names, sizes and times.

    With `contents`, the bytes are read instead of the times: the same weights then have the same fingerprint
    wherever they lie. Hidden files and sub-folders don't count. Raises StoreError if something can't be read.
    """
    digest = hashlib.sha256()
    with disk_errors("read the model", path):
        files = sorted(child for child in path.iterdir() if child.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.name.startswith("."):
                continue
            status = file.stat()
            digest.update(f"{file.name}\0{status.st_size}\0".encode())
            if contents:
                with file.open("rb") as stream:
                    while block := stream.read(_READ_BYTES):
                        digest.update(block)
            else:
                digest.update(f"{status.st_mtime_ns}\0".encode())
    return f"local-{digest.hexdigest()[:16]}"
