"""`installed_file`: where set-up puts our matrix kernels, told without loading llama.cpp."""

from __future__ import annotations

import importlib.util
from pathlib import Path

FILE_NAME = "libcorral_kernels.so"


def installed_file() -> Path | None:
    """Return the path beside llama.cpp's libraries, whether it is there or not; None without llama.cpp."""
    found = importlib.util.find_spec("llama_cpp")
    return None if found is None or found.origin is None else Path(found.origin).parent / "lib" / FILE_NAME
