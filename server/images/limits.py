"""The bounds on a client's images, from their bytes to the processes that fetch and decode them."""

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
MAX_ADDRESS: Final = 8192
"""The address of an image has at most so many characters."""


class DecodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds on a process that decodes, which the kernel enforces."""

    cpu_s: float = 10.0
    wall_s: float = 120.0
    """The time for one image. It is long, as the process gives way to others after half a second."""
    memory_bytes: int = 1 << 30
    """The address space: the largest image that is allowed takes about half of it."""


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds on the process that fetches."""

    n_requests: int = 128
    """The images of so many requests are fetched at the same time."""
    n_at_once: int = 8
    """So many of one request's are."""
    request_s: float = 30.0
    """The time for all images of one request."""
    request_bytes: int = 64 << 20
    """The images of one request have at most so many bytes together."""
    total_bytes: int = 256 << 20
    """Those of all requests do, until they are decoded."""
    memory_bytes: int = 2 << 30
    """The address space, which the kernel enforces."""
