from __future__ import annotations

import pytest
from PIL import Image

from server.images.decode import decode
from server.images.limits import MAX_PIXELS
from server.images.picture import Unreadable, check_size
from tests.server.images.samples import broken_files, encoded, fields, png_of_size


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "GIF"])
def test_pixels_of_exact_formats(format_: str) -> None:
    image = fields()
    picture = decode(encoded(image, format_, **({"lossless": True} if format_ == "WEBP" else {})))
    assert (picture.width, picture.height, picture.rgb) == (60, 40, image.tobytes())


def test_pixels_of_jpeg() -> None:
    picture = decode(encoded(fields(), "JPEG", quality=95))
    assert (picture.width, picture.height, len(picture.rgb)) == (60, 40, 60 * 40 * 3)
    wrong = sum(abs(a - b) for a, b in zip(picture.rgb, fields().tobytes(), strict=True))
    assert wrong / len(picture.rgb) < 20


def test_the_first_picture_of_those_that_move() -> None:
    first, second = fields(seed=1), fields(seed=2)
    for format_ in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if format_ == "WEBP" else {}
        data = encoded(first, format_, save_all=True, append_images=[second], **options)
        assert decode(data).rgb == first.tobytes()


def test_other_modes_become_rgb() -> None:
    grey = Image.new("L", (4, 3), 77)
    assert decode(encoded(grey)).rgb == bytes([77] * 36)
    deep = Image.new("I;16", (4, 3), 77 * 256 + 5)
    assert decode(encoded(deep)).rgb == bytes([77] * 36)
    clear = Image.new("RGBA", (4, 3), (9, 8, 7, 0))
    assert decode(encoded(clear)).rgb == bytes([9, 8, 7] * 12)


def test_an_image_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is at the right
    picture = decode(encoded(fields(), "JPEG", exif=exif))
    assert (picture.width, picture.height) == (40, 60)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0", b"Exif\0\0XXXX\0\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_an_image_whose_exif_data_are_broken_is_not_turned(exif: bytes) -> None:
    image = fields()
    for format_ in ("PNG", "WEBP"):
        options = {"lossless": True} if format_ == "WEBP" else {}
        assert decode(encoded(image, format_, exif=exif, **options)).rgb == image.tobytes()


@pytest.mark.parametrize(
    ("size", "words"),
    [((6001, 6000), f"limit is {MAX_PIXELS:,}"), ((16_385, 90), "16,384 for a side"), ((201, 1), "crop it")],
)
def test_sizes_that_are_refused(size: tuple[int, int], words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        decode(png_of_size(*size))


@pytest.mark.parametrize("size", [(6000, 6000), (16_384, 90), (200, 1), (1, 1)])
def test_the_largest_sizes(size: tuple[int, int]) -> None:
    check_size(*size)


def test_broken_files_are_refused_in_words() -> None:
    for data in broken_files(200):
        with pytest.raises(Unreadable, match=r"^(is|has) "):
            decode(data)


def test_other_formats_are_refused() -> None:
    for format_ in ("BMP", "TIFF", "PPM", "ICO"):
        with pytest.raises(Unreadable, match="send PNG, JPEG, WebP or GIF"):
            decode(encoded(fields(), format_))
