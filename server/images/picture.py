"""`Picture`: a decoded image, the sizes that it may have, and the error of one that can't be used."""

from __future__ import annotations

from dataclasses import dataclass

from server.images.limits import MAX_PIXELS, MAX_RATIO, MAX_SIDE


class Unreadable(Exception):
    """An image that can't be used; the text fits after "the image"."""


@dataclass(frozen=True)
class Picture:
    """A decoded image: rows from the top, three bytes for each pixel."""

    width: int
    height: int
    rgb: bytes


def check_size(width: int, height: int) -> None:
    """Raise Unreadable for a size that no image may have."""
    if width < 1 or height < 1:
        raise Unreadable("has no pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise Unreadable(
            f"has {width:,} x {height:,} pixels; the limit is {MAX_PIXELS:,}, and {MAX_SIDE:,} for a side: "
            "make it smaller"
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise Unreadable(
            f"has {width:,} x {height:,} pixels; one side may be {MAX_RATIO} times the other at most: crop it"
        )
