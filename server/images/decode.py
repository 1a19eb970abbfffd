"""`decode`: an image file's bytes as RGB. It runs in `process`, as files come from strangers."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from server.images.limits import FORMATS
from server.images.picture import Picture, Unreadable, check_size


def decode(data: bytes) -> Picture:
    """Return the (first) picture of a file, turned as its EXIF data say. Raises Unreadable.

    Its size is looked at before a pixel is decoded. What is transparent shows the colour beneath.
    """
    Image.MAX_IMAGE_PIXELS = None  # `check_size` has the bound
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(*image.size)
            image.load()
            rgb = _eight_bits(_upright(image)).convert("RGB")
    except UnidentifiedImageError:
        raise Unreadable("is none that this server reads; send PNG, JPEG, WebP or GIF") from None
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise anything for what is broken
        raise Unreadable(f"is broken: {type(error).__name__}: {error}"[:200]) from error
    return Picture(*rgb.size, rgb.tobytes())


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF data say; as it is, if those can't be read: its pixels are whole."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's readers raise anything for what is broken
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image whose grey has 16 bits with the upper 8 of them."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image
