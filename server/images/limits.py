"""The bounds on a client's images, from their bytes to the process that decodes them."""

from __future__ import annotations

from typing import Final

import msgspec

MAX_IMAGES: Final = 64
"""A chat has at most so many images."""
MAX_BYTES: Final = 20 << 20
"""An image's file has at most so many bytes."""
MAX_PIXELS: Final = 36_000_000
"""An image has at most so many pixels."""
MAX_SIDE: Final = 16_384
"""Neither side of an image has more pixels than this."""
MAX_RATIO: Final = 200
"""The longer side has at most so many times the pixels of the shorter."""
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF")
"""The formats that are read, by Pillow's names; of those that move, the first picture."""


class DecodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds on the process that decodes, which the kernel enforces."""

    cpu_s: float = 10.0
    wall_s: float = 30.0
    """The time for one image, that of fetching it included."""
    memory_bytes: int = 1 << 30
    """The address space: the largest image that is allowed takes about half of it."""
