"""Images for tests: a picture of coloured fields in each format, and files that are broken in many ways."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image


def fields(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    """Return a picture of a few coloured fields, always the same for a seed."""
    numbers = random.Random(seed)
    image = Image.new("RGB", (width, height))
    for x in range(0, width, step := max(10, width // 10)):
        for y in range(0, height, step):
            colour = (numbers.randrange(256), numbers.randrange(256), numbers.randrange(256))
            image.paste(colour, (x, y, x + step, y + step))
    return image


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    """Return the file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """Return a whole PNG that says it has this size, and has a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b"")


def broken_files(n: int) -> Iterator[bytes]:
    """Yield `n` files that are no images: cut, too large, of other kinds, or with a broken head."""
    numbers = random.Random(7)
    whole = [encoded(fields(), format_) for format_ in ("PNG", "JPEG", "WEBP", "GIF")]
    others = [b"", b"GIF89a", b"%PDF-1.7\n", b"BM" + bytes(60), b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
    sizes = [(1 << 31, 1), (100_000, 100_000), (16_385, 1), (7_000, 7_000), (0, 0), (1, 5_000)]
    yield from [*others, *(png_of_size(*size) for size in sizes)][:n]
    for i in range(n - len(others) - len(sizes)):
        data = whole[i % len(whole)]
        if i % 3 == 0:
            yield data[: numbers.randrange(1, len(data) // 2)]
        elif i % 3 == 1:
            yield numbers.randbytes(12) + data[12:]
        else:
            yield numbers.randbytes(numbers.randrange(1, 300))
