"""Names in the store for models of other programs. Pure."""

from __future__ import annotations

import re

from models.errors import InvalidReference
from models.reference import DEMO, canonical_type

LONGEST = 96
"""A part of a name has at most this many characters."""


def name_part(text: str) -> str:
    """Return `text` as a part of a name: what a name can't have becomes a dash."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", text)
    plain = re.sub(r"\.\.+", ".", re.sub(r"--+", "-", plain)).strip("-.")[:LONGEST].rstrip("-.")
    return re.sub(r"(?i)\.gguf$", "-gguf", plain) or "model"


def store_names(program: str, owner: str | None, *models: str) -> tuple[str, ...]:
    """Return the names for a model whose part of a name is one of `models`, the best first.

    The last is under the program's own name, for when the others mean other models. `demo` has a meaning.
    """
    parts = list(dict.fromkeys(map(name_part, models)))
    plain = [part if owner is None else f"{name_part(owner)}/{part}" for part in parts]
    flat = parts[-1] if owner is None else name_part(f"{owner}-{parts[-1]}")
    return tuple(name for name in (*plain, f"{program}/{flat}") if name != DEMO)


def type_in(text: str) -> str | None:
    """Return the type that a text is, None for another."""
    try:
        return canonical_type(re.sub(r"(?i)^fp(?=16$|32$)", "F", text))
    except InvalidReference:
        return None


def without_type(tag: str) -> tuple[str, str | None]:
    """Return (`3b-chat`, `Q8_0`) for `3b-chat-q8_0`; (`3b`, None) where no type is at the end."""
    for start in (0, *(dash.end() for dash in re.finditer("-", tag))):
        type_ = type_in(tag[start:])
        if type_ is not None:
            return tag[:start].rstrip("-"), type_
    return tag, None
