"""What killed processes left in the store's folders, and what no manifest mentions any more: deleted here."""

from __future__ import annotations

import shutil
from pathlib import Path

from models.errors import CorralError
from models.store.locks import edit_lock
from models.store.manifest import MANIFEST_NAME, Manifest, read_manifest


def sweep_models(models_dir: Path, locks_dir: Path) -> None:
    """Delete publications that no manifest mentions; a manifest that can't be read keeps its own."""
    if not models_dir.is_dir():
        return
    for model_folder in models_dir.iterdir():
        with edit_lock(locks_dir / f"{model_folder.name}.edit.lock"):
            for folder in model_folder.iterdir() if model_folder.is_dir() else ():
                try:
                    manifest = read_manifest(folder / MANIFEST_NAME)
                except FileNotFoundError:
                    shutil.rmtree(folder, ignore_errors=True)
                except CorralError:
                    continue
                else:
                    sweep_revision(folder, manifest)


def sweep_revision(folder: Path, manifest: Manifest) -> None:
    """Delete the weights in `folder` that `manifest` doesn't mention, and what lies beside none of it.

    An evaluation stays with its file. A failure is left for the next sweep.
    """
    kept = {folder / name for file in manifest.files for name in file.names}
    for publication in folder.iterdir():
        if not publication.is_dir():
            continue
        files = list(publication.iterdir())
        is_empty = kept.isdisjoint(files)
        for file in files:
            if file not in kept and (is_empty or file.suffix == ".gguf"):
                file.unlink(missing_ok=True)
        remove_if_empty(publication)


def remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
