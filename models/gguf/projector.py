"""Projectors (`mmproj`): GGUF files beside a model's, which turn pictures or sound into embeddings."""

from __future__ import annotations

import re
from typing import Final

PROJECTOR_ARCHITECTURE: Final = "clip"
"""llama.cpp's projectors all have this `general.architecture`, whatever they encode."""

PROJECTOR_KIND: Final = "mmproj"
"""A projector's `general.type`, which older files lack."""

_NAME: Final = re.compile(r"mm[-_.]?proj", re.IGNORECASE)


def is_projector_name(path: str) -> bool:
    """True if a file's name, or one of its folders', says that it is a projector; in any place, any case."""
    return _NAME.search(path) is not None
