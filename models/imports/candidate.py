"""`Candidate`: a model that another program has on the disk, as its own files describe it."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.errors import CorralError

Program = Literal["ollama", "lm-studio"]


class NotImported(CorralError):
    """A model that can't be taken into the store; the message doesn't name it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a model. `sha256` is the one that the program's files say, None where they say none."""

    path: Path
    size_bytes: int
    sha256: str | None = None

    @classmethod
    def at(cls, path: Path) -> Part:
        """Return the part at `path`. Raises NotImported for anything but a plain file that can be read."""
        return cls(path, plain_size(path))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of another program.

    `title` is its name there, and `label` that of this file of it, where a name has several. `names` are
    those it can have in the store, the best first. With a `problem` it can't be imported.
    """

    program: Program
    title: str
    label: str
    names: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    projector: Part | None = None
    """The file with what lets the model see."""
    type_hint: str | None = None
    """The type in its name, for a file whose header has none."""
    remarks: tuple[str, ...] = ()
    """The parts of it that aren't taken over, a sentence each."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Those parts as they are: `parameters`, `system`, `template`, `messages`."""
    problem: str | None = None

    @property
    def size_bytes(self) -> int:
        """The bytes of the model's own files, without the projector's."""
        return sum(part.size_bytes for part in self.parts)


def is_folder(path: Path) -> bool:
    """True for a folder that can be looked into; a service's home often can't."""
    try:
        return path.is_dir()
    except OSError:
        return False


def plain_size(path: Path) -> int:
    """Return a file's size. Raises NotImported unless it is a plain file, or a link to one."""
    try:
        status = path.stat()
    except OSError as error:
        raise NotImported(f"{path} can't be read: {error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise NotImported(f"{path} is no plain file")
    return status.st_size
