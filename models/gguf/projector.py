"""Projectors (`mmproj`): GGUF files beside a model's, which turn pictures or sound into embeddings."""

from __future__ import annotations

import re
from typing import Final

PROJECTOR_ARCHITECTURE: Final = "clip"
"""llama.cpp's projectors all have this `general.architecture`, whatever they encode."""

PROJECTOR_KIND: Final = "mmproj"
"""A projector's `general.type`, which older files lack."""

PROJECTOR_NUMBERS: Final = ("F16", "BF16", "F32", "Q8_0")
"""The numbers that a projector's matrices can have in a file made here; the first are the usual ones."""

_NAME: Final = re.compile(r"mm[-_.]?proj", re.IGNORECASE)


def projector_type(numbers: str) -> str:
    """Return the type as which a projector of these `numbers` (F16, Q8_0 …) is listed: `mmproj-F16`."""
    return f"{PROJECTOR_KIND}-{numbers}"


def projector_numbers(type_: str) -> str:
    """Return the numbers, such as F16, of a type as `projector_type` makes it."""
    return type_.removeprefix(f"{PROJECTOR_KIND}-")


def is_projector_name(path: str) -> bool:
    """True if a file's name, or one of its folders', says that it is a projector; in any place, any case."""
    return _NAME.search(path) is not None
