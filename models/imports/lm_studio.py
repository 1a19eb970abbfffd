"""LM Studio's models on this disk: GGUF files, each at `publisher/model/file.gguf` below one folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.errors import ModelNotFound
from models.gguf.info import split_paths
from models.gguf.projector import is_projector_name
from models.hub.files import fitting_projector, gguf_type
from models.imports.candidate import Candidate, NotImported, Part, is_folder
from models.imports.names import store_names

PROGRAM: Final = "lm-studio"

DEEPEST: Final = 6
"""Files more folders down than this aren't looked for."""


def lm_studio_folders(given: Path | None, home: Path) -> list[Path]:
    """Return the folders with `publisher/model/file.gguf`: `given`, or those that LM Studio has.

    Raises ModelNotFound, which says where it was looked for.
    """
    if given is not None:
        places = [given / "models" if is_folder(given / "models") else given]
    else:
        homes = [*_home_pointer(home), home / ".lmstudio", home / ".cache" / "lm-studio"]
        places = [place for one in homes for place in (_downloads_folder(one), one / "models") if place]
    folders = [place.absolute() for place in dict.fromkeys(places) if is_folder(place)]
    if not folders:
        looked = " or ".join(map(str, places))
        raise ModelNotFound(
            f"there are no models of LM Studio that can be read in {looked}; give their folder with --from"
        )
    return folders


def lm_studio_candidates(folder: Path) -> list[Candidate]:
    """Return all models of the folder, by their files; those that can't be imported say why."""
    candidates: dict[Path, Candidate] = {}
    for path in sorted(_files(folder)):
        if path.suffix.lower() == ".gguf":
            parts = split_paths(path) or (path,)
            if parts[0] not in candidates:
                candidates[parts[0]] = _candidate(folder, parts)
        elif path.suffix == ".safetensors" and not any(_ggufs(path.parent)):
            candidates[path.parent] = _safetensors(folder, path.parent)
    return list(candidates.values())


def _candidate(folder: Path, paths: tuple[Path, ...]) -> Candidate:
    path = paths[0]
    label = path.relative_to(folder).as_posix()
    *owners, stem = path.relative_to(folder).with_suffix("").parts
    owner = owners[0] if len(owners) > 1 else None
    names = (owners[1] if len(owners) > 1 else stem, stem)
    title = "/".join(owners[:2]) if len(owners) > 1 else label
    if is_projector_name(path.name):
        problem = "it is a projector (mmproj), which turns pictures into embeddings, and no model"
        return Candidate(PROGRAM, title, label, problem=problem)
    try:
        parts = tuple(Part.at(one) for one in paths)
    except NotImported as error:
        return Candidate(PROGRAM, title, label, problem=error.message)
    eyes = fitting_projector(path.name, (beside.name for beside in _ggufs(path.parent)))
    return Candidate(
        PROGRAM,
        title,
        label,
        names=store_names(PROGRAM, owner, *names),
        parts=parts,
        projector=None if eyes is None else Part.at(path.with_name(eyes)),
        type_hint=gguf_type(label),
    )


def _safetensors(folder: Path, place: Path) -> Candidate:
    label = place.relative_to(folder).as_posix()
    problem = f"it has no GGUF but safetensors; if they have 16 bits, run: corral quantize {place}"
    return Candidate(PROGRAM, label, label, problem=problem)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below, hidden ones left out; linked folders are gone into, up to `DEEPEST`."""
    for place, folders, files in os.walk(folder, followlinks=True):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and depth + 1 < DEEPEST)
        yield from (Path(place, name) for name in files if not name.startswith("."))


def _ggufs(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() == ".gguf")


def _home_pointer(home: Path) -> list[Path]:
    """Return the home that LM Studio's pointer names, if there is one."""
    try:
        text = (home / ".lmstudio-home-pointer").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return []
    return [Path(text)] if text.startswith("/") and "\0" not in text else []


def _downloads_folder(lm_studio: Path) -> Path | None:
    """Return the models' folder that the settings name, if they name one."""
    try:
        folder = json.loads((lm_studio / "settings.json").read_bytes())["downloadsFolder"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Path(folder) if isinstance(folder, str) and folder.startswith("/") and "\0" not in folder else None
