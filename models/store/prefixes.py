"""Folders of kept prefixes by their model: what a server computed with a file goes when the file goes.

CORRAL_HOME/prefix-cache/<key>/model     the path of the file that the states belong to
CORRAL_HOME/prefix-cache/<key>/*.prefix  the states, which hold prompts
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from models.store.atomic_write import write_atomically

_NOTE: Final = "model"


def note_model(folder: Path, file: Path) -> None:
    """Note in a folder of prefixes which file they belong to. Raises OSError."""
    note, text = folder / _NOTE, f"{file.absolute()}\n".encode()
    if not note.is_file() or note.read_bytes() != text:
        write_atomically(note, text, private=True)


def remove_prefixes(root: Path, files: Iterable[Path]) -> int:
    """Delete the folders of prefixes of these files, and of files that are no longer there.

    Return how many folders went. Raises OSError for one that can't be deleted.
    """
    going = {file.absolute() for file in files}
    removed = 0
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        model = _model_of(folder)
        if model is not None and (model in going or not model.exists()):
            shutil.rmtree(folder)
            removed += 1
    if removed:
        with contextlib.suppress(OSError):  # another model's are there
            root.rmdir()
    return removed


def _model_of(folder: Path) -> Path | None:
    try:
        text = (folder / _NOTE).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return Path(text) if text else None
