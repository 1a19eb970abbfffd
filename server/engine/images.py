"""Images among a prompt's tokens: the stand-ins for their tokens, and where they are. Pure.

An image takes a cell of the KV cache for each of its embeddings, so it has as many tokens; they are numbers
made of what the image shows, above those of every vocabulary. So two prompts with the same image at the same
place share it as they share text, and the prefix cache needs to know nothing else.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FIRST_IMAGE_TOKEN = 1 << 62
"""The tokens of images are this number and those above it, below 2**63."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSpan:
    """An image, or a tile of one, among a prompt's tokens: it is computed as a whole, in one step."""

    start: int
    n_tokens: int
    content: object
    """Only the runner understands it."""

    @property
    def end(self) -> int:
        return self.start + self.n_tokens


def image_tokens(digest: bytes, n: int) -> list[int]:
    """Return the tokens of an image whose content has this digest: 62 bits of each depend on it."""
    drawn = struct.unpack(f"<{n}Q", hashlib.shake_128(digest).digest(8 * n))
    return [number >> 2 | FIRST_IMAGE_TOKEN for number in drawn]


def is_image_token(token: int) -> bool:
    """Return True for a token that stands for a part of an image."""
    return token >= FIRST_IMAGE_TOKEN


def without_images(tokens: Iterable[int]) -> list[int]:
    """Return the tokens of text alone."""
    return [token for token in tokens if token < FIRST_IMAGE_TOKEN]


def text_before_image(tokens: list[int]) -> list[int]:
    """Return the tokens before the first of an image."""
    n = next((i for i, token in enumerate(tokens) if token >= FIRST_IMAGE_TOKEN), len(tokens))
    return tokens[:n]


def span_at(images: Sequence[ImageSpan], position: int) -> ImageSpan | None:
    """Return the image that begins at `position`; `images` ascend."""
    i = bisect_right(images, position, key=_start) - 1
    return images[i] if i >= 0 and images[i].start == position else None


def next_start(images: Sequence[ImageSpan], position: int) -> int | None:
    """Return where the first image after `position` begins; None: there is none."""
    i = bisect_right(images, position, key=_start)
    return images[i].start if i < len(images) else None


def whole_prefix(images: Sequence[ImageSpan], n_tokens: int) -> int:
    """Return the most of the first `n_tokens` that doesn't end within an image."""
    i = bisect_right(images, n_tokens, key=_start) - 1
    return images[i].start if i >= 0 and n_tokens < images[i].end else n_tokens


def _start(span: ImageSpan) -> int:
    return span.start
