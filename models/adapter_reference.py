"""`AdapterRef`: a user's name for a LoRA adapter, `PATH[=NAME][@SCALE]`, and the only parser of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from models.errors import InvalidReference
from models.reference import canonical_type

DEFAULT_SCALE = 1.0
"""An adapter is applied with this scale when none is given."""
MAX_SCALE = 1000.0
"""A scale is from minus this to this."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCALE = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """A GGUF adapter's file or a PEFT adapter's folder.

    It is applied with `scale` unless a request says otherwise; 0: only where a request names it.
    """

    path: Path
    name: str
    scale: float = DEFAULT_SCALE

    @classmethod
    def parse(cls, text: str) -> AdapterRef:
        """Parse what was typed; an existing path may itself hold `=` and `@`. Raises InvalidReference."""
        path, name, scale = text.strip(), None, DEFAULT_SCALE
        if not path:
            raise InvalidReference("the adapter's path is empty; give PATH[=NAME][@SCALE]")
        if not Path(path).expanduser().exists():
            before, at, number = path.rpartition("@")
            if at and _SCALE.fullmatch(number):
                path, scale = before, float(number)
        if not Path(path).expanduser().exists():
            before, equals, given = path.rpartition("=")
            if equals:
                path, name = before, given
        return cls.of(Path(path), name, scale)

    @classmethod
    def of(cls, path: Path, name: str | None = None, scale: float = DEFAULT_SCALE) -> AdapterRef:
        """Make a reference to what is there; `name` None: from the path.

        Raises InvalidReference: no file, a bad name or scale.
        """
        ref = cls.unchecked(path, name, scale)
        try:
            exists = ref.path.exists()
        except (OSError, ValueError):
            exists = False
        if not exists:
            raise InvalidReference(
                f"there is no adapter at {str(path)!r:.300}; give a GGUF file or a PEFT adapter's folder, as"
                " PATH[=NAME][@SCALE]"
            )
        return ref

    @classmethod
    def unchecked(cls, path: Path, name: str | None = None, scale: float = DEFAULT_SCALE) -> AdapterRef:
        """Make a reference without a look at the disk. Raises InvalidReference: a bad name or scale."""
        if not math.isfinite(scale) or abs(scale) > MAX_SCALE:
            raise InvalidReference(
                f"the scale of {path} is {scale}; it must be from -{MAX_SCALE:g} to {MAX_SCALE:g}"
            )
        try:
            full = path.expanduser().absolute()
        except RuntimeError:  # the home of somebody unknown
            full = path.absolute()
        return cls(full, _name_of(full) if name is None else _checked(name), scale)


def _name_of(path: Path) -> str:
    """Return the file's stem or the folder's name, with `-` for what a name can't hold."""
    stem = path.stem if path.suffix.lower() == ".gguf" else path.name
    return _checked(re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:64] or "adapter")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidReference(
            f"{name!r:.80} is no name for an adapter; use up to 64 letters, digits, '.', '_' and '-'"
        )
    try:
        type_ = canonical_type(name)
    except InvalidReference:
        return name
    raise InvalidReference(
        f"an adapter can't be called {name}: MODEL:{type_} is the model in that type; rename it"
    )
