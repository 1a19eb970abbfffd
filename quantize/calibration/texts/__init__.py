"""The texts that calibration comes with: a mixture to calibrate on, and another that is held out.

README.md here names their sources and licences; scripts/calibration_text builds them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

DEFAULT_LABEL: Final = "corral-mix-1"
"""The name of the default text, as files made with it have it in their metadata."""
HELD_OUT_LABEL: Final = "corral-held-out-1"
"""The name of the text that is held out."""

_FOLDER: Final = Path(__file__).parent


def default_text() -> str:
    """Return the text to calibrate on: any first part of it is a mixture of all its kinds."""
    return (_FOLDER / "mix.txt").read_text("utf-8")


def held_out_text() -> str:
    """Return a text of other kinds, of which nothing is in the default one, to measure a result with."""
    return (_FOLDER / "held_out.txt").read_text("utf-8")
