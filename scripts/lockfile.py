"""Reading the hash-pinned requirements*.lock files. Pure apart from opening them; `make lock` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class LockError(Exception):
    """A lock file that isn't one."""


@dataclass(frozen=True)
class Locked:
    """One requirement of a lock: `text` is its lines as they stand, marker and hashes included."""

    name: str
    version: str
    digests: tuple[str, ...]
    text: str


def parse(text: str) -> list[Locked]:
    """All requirements of a lock, in order.

    Raises LockError for a line that pins nothing, or pins without a hash.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            if not blocks:
                raise LockError(f"a lock can't begin with a continuation: {line.strip()}")
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return [_locked("\n".join(block) + "\n") for block in blocks]


def read(path: Path) -> list[Locked]:
    """All requirements of the lock at `path`."""
    return parse(path.read_text(encoding="utf-8"))


def one(locked: Iterable[Locked], name: str) -> Locked:
    """The requirement called `name`. Raises LockError if the lock doesn't have it."""
    for requirement in locked:
        if requirement.name == name:
            return requirement
    raise LockError(f"{name} is in no lock; run make lock")


def _locked(text: str) -> Locked:
    match = _PINNED.match(text)
    digests = tuple(_HASH.findall(text))
    if match is None or not digests:
        raise LockError(f"not pinned with a hash: {text.splitlines()[0]}")
    return Locked(match["name"].lower().replace("_", "-"), match["version"], digests, text)
