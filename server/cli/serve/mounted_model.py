"""`first_here`: the model to serve where none is named, such as one that a host has mounted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from models.errors import ConfigError, ModelNotFound
from models.gguf.info import split_paths
from models.reference import ModelRef

_PROJECTOR = re.compile(r"(^|[.-])mmproj", re.IGNORECASE)
_MOST_LEVELS = 3
"""Folders in folders are looked through to this depth, as where an archive was unpacked."""


def first_here(references: Iterable[str]) -> str | None:
    """Return the first reference that is here: a path at which there is a model, or any name; None: none is.

    Raises ConfigError for a folder with several models, InvalidReference for what is no reference.
    """
    for reference in references:
        try:
            ref = ModelRef.parse(reference)
        except ModelNotFound:
            continue
        if ref.path is None:
            return reference
        if (found := model_in(ref.path)) is not None:
            return str(replace(ref, path=found))
    return None


def model_in(path: Path, levels: int = _MOST_LEVELS) -> Path | None:
    """Return the model at a path: the file, a folder with weights, or the one GGUF file in a folder.

    A folder that has nothing but another folder is as that one. None where there is nothing. Raises
    ConfigError for several GGUF files.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        return None
    entries = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    if any(each.name == "config.json" for each in entries):
        return path
    files = [each for each in entries if each.suffix == ".gguf" and not _PROJECTOR.search(each.name)]
    models = list(dict.fromkeys((split_paths(each) or [each])[0] for each in files))
    if len(models) > 1:
        names = ", ".join(each.name for each in models[:5])
        raise ConfigError(f"the folder {path} has several models ({names}); name the one to serve")
    if models:
        return models[0]
    folders = [each for each in entries if each.is_dir()]
    return model_in(folders[0], levels - 1) if len(folders) == 1 and levels else None
