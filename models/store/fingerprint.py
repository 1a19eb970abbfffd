"""`fingerprint`: a local checkpoint's stand-in for a commit, which changes when its files do."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from models.store.atomic_write import disk_errors
from models.weight_files import MODULE_FOLDER

_READ_BYTES = 1 << 20


def fingerprint(path: Path, *, contents: bool = False) -> str:
    """Return `local-` and 16 hex digits over the file's, or the folder's files', names, sizes and times.

    With `contents`, the bytes are read instead of the times: the same weights then have the same fingerprint
    wherever they lie. Hidden files don't count, and of sub-folders only those of sentence-transformers'
    modules. Raises StoreError if something can't be read.
    """
    digest = hashlib.sha256()
    with disk_errors("read the model", path):
        for file in _files(path) if path.is_dir() else [path]:
            if file.name.startswith("."):
                continue
            status = file.stat()
            name = file.name if file.parent in (path, path.parent) else f"{file.parent.name}/{file.name}"
            digest.update(f"{name}\0{status.st_size}\0".encode())
            if contents:
                with file.open("rb") as stream:
                    while block := stream.read(_READ_BYTES):
                        digest.update(block)
            else:
                digest.update(f"{status.st_mtime_ns}\0".encode())
    return f"local-{digest.hexdigest()[:16]}"


def _files(folder: Path) -> list[Path]:
    """Return the folder's files in order, then those of its modules."""
    children = sorted(folder.iterdir())
    modules = [child for child in children if re.fullmatch(MODULE_FOLDER, child.name) and child.is_dir()]
    inside = [file for module in modules for file in sorted(module.iterdir()) if file.is_file()]
    return [*(child for child in children if child.is_file()), *inside]
