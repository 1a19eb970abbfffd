"""`ModelRef`: a user's name for a model, and the only parser of it.

    org/name            a Hub repository        org/name@revision:Q4_K_M
    /path ./path ~/path a local folder or GGUF  ./vicuna-7b:Q8_0      ./vicuna-7b.Q8_0.gguf
    demo                the embedded demo model demo:Q5_K_M

Nothing here looks at the store or the network; of the file system only whether a name is an existing path.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from models.errors import InvalidReference, ModelNotFound
from models.quantization_types import QUANTIZATION_TYPES, TYPE_ALIASES

DEMO = "demo"

_MIXED = re.compile(r"MIX-\d{1,2}\.\d{2}")

_REPO_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_FORM = "org/name[@revision][:TYPE], a local folder or .gguf file, or demo[:TYPE]"


def canonical_type(text: str) -> str:
    """Return `Q4_K_M` for `4bit` or `q4_k_m`.

    Raises InvalidReference, with the nearest names, for other text. A file of mixed types that was made for a
    size is called `MIX-4.85`, after its bits per weight.
    """
    upper = text.strip().upper()
    canonical = TYPE_ALIASES.get(upper, upper)
    if canonical in QUANTIZATION_TYPES or _MIXED.fullmatch(canonical):
        return canonical
    near = difflib.get_close_matches(canonical, [*QUANTIZATION_TYPES, *TYPE_ALIASES], n=3, cutoff=0.5)
    fix = f"did you mean {' or '.join(near)}?" if near else f"known are {' '.join(QUANTIZATION_TYPES)}"
    raise InvalidReference(f"{_shown(text)} is no quantization type; {fix}")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One model, and perhaps one of its types. `ModelRef.parse(str(ref)) == ref`.

    `repo` and `revision` are set for kind "hub" only, `path` (absolute) for kind "path" only; `type` is
    canonical.
    """

    kind: Literal["hub", "path", "demo"]
    repo: str | None = None
    revision: str | None = None
    type: str | None = None
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Parse what was typed. Raises InvalidReference, or ModelNotFound for a path where nothing is."""
        stripped = text.strip()
        if not stripped:
            raise InvalidReference(f"the model reference is empty; give {_FORM}")
        if len(stripped) > 4096 or not stripped.isprintable():
            raise InvalidReference(f"{_shown(stripped)} is too long or has control characters; give {_FORM}")
        if _exists(stripped) and stripped != DEMO:
            return cls(kind="path", path=_absolute(stripped))
        base, type_text = _split_type(stripped)
        type_ = None if type_text is None else canonical_type(type_text)
        if base == DEMO:
            return cls(kind="demo", type=type_)
        if _exists(base):
            return cls(kind="path", path=_absolute(base), type=type_)
        if _looks_like_path(base):
            raise ModelNotFound(f"there is no file or folder at {_absolute(base)}; check the path")
        return _parse_hub(base, type_)

    @property
    def name(self) -> str:
        """The name in the store and the server: `org/name`, `demo`, a file's stem or a folder's name."""
        if self.kind == "demo":
            return DEMO
        if self.repo is not None:
            return self.repo
        assert self.path is not None
        return self.path.stem if self.path.suffix.lower() == ".gguf" else self.path.name

    def with_type(self, type_: str | None) -> ModelRef:
        """Return the same model with another type (any accepted spelling), or with none."""
        return replace(self, type=None if type_ is None else canonical_type(type_))

    def __str__(self) -> str:
        base = str(self.path) if self.kind == "path" else self.name
        revision = f"@{self.revision}" if self.revision else ""
        type_ = f":{self.type}" if self.type else ""
        return f"{base}{revision}{type_}"


def _parse_hub(base: str, type_: str | None) -> ModelRef:
    repo, at, revision = base.partition("@")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith("/")):
        raise InvalidReference(
            f"{_shown(revision)} in {_shown(base)} is no revision; give a branch, tag or commit after the @"
        )
    if "://" in repo:
        raise InvalidReference(f"{_shown(repo)} is an address, not a model reference; give only its org/name")
    segments = repo.split("/")
    if len(segments) > 2:
        raise InvalidReference(
            f"{_shown(repo)} has {len(segments)} parts and is no existing path; a Hub name is org/name"
        )
    for segment in segments:
        if not _REPO_NAME.fullmatch(segment) or ".." in segment or "--" in segment or segment[-1] in "-.":
            raise InvalidReference(
                f"{_shown(repo)} is neither an existing path nor a Hub name (letters, digits, - _ . and"
                f" one /); give {_FORM}"
            )
    return ModelRef(kind="hub", repo=repo, revision=revision or None, type=type_)


def _split_type(text: str) -> tuple[str, str | None]:
    """Return (`a/b`, `T`) for `a/b:T`.

    A colon inside a path's folder names, or of `scheme://`, separates no type.
    """
    base, colon, type_text = text.rpartition(":")
    if not colon or "/" in type_text:
        return text, None
    if not base or not type_text:
        raise InvalidReference(
            f"{_shown(text)} has nothing {'after' if base else 'before'} its colon; give {_FORM}"
        )
    return base, type_text


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.lower().endswith(".gguf")


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a NUL
        return False


def _absolute(text: str) -> Path:
    try:
        expanded = Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidReference(f"{_shown(text)} names an unknown home folder; give the full path") from error
    # Not resolve(): a link in the Hub's cache has the file's name, its target only a hash.
    return Path(os.path.abspath(expanded))  # noqa: PTH100 - absolute() keeps `..`


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
