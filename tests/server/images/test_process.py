from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import RequestError
from server.images.limits import DecodeLimits
from server.images.process import ImageProcess
from server.ipc.chat_image import ChatImage
from tests.server.images.samples import broken_files, encoded, fields, png_of_size

PART = "messages[0].content[1]"


@pytest.fixture(scope="module")
def process() -> Iterator[ImageProcess]:
    process = ImageProcess()
    yield process
    process.close()


def test_images_are_decoded_in_one_child(process: ImageProcess) -> None:
    image = fields()
    first = process.read(ChatImage(encoded(image), param=PART))
    pid = process.pid
    assert (first.width, first.height, first.rgb) == (60, 40, image.tobytes())
    assert process.read(ChatImage(encoded(image, "GIF"))).rgb == image.tobytes()
    assert process.pid == pid


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system doesn't tell")
def test_what_is_broken_is_named_and_ends_nothing(process: ImageProcess) -> None:
    """Two hundred files; the child's memory at its largest is bounded."""
    process.read(ChatImage(encoded(fields())))
    pid = process.pid
    assert pid is not None
    for data in broken_files(200):
        with pytest.raises(RequestError, match="the image of") as caught:
            process.read(ChatImage(data, param=PART))
        assert (caught.value.param, caught.value.code) == (PART, "invalid_image")
    assert process.pid == pid
    (peak_kib,) = re.findall(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert int(peak_kib) < 200 << 10


def test_a_child_that_was_killed_is_started_again(process: ImageProcess) -> None:
    process.read(ChatImage(encoded(fields())))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    assert process.read(ChatImage(encoded(fields()))).width == 60


def test_what_takes_long_gives_way_and_the_next_image_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.images.process.QUICK_S", 0.0)
    process = ImageProcess()
    lowered: list[int] = []
    monkeypatch.setattr("server.images.process.take_what_is_left", lowered.append)
    assert process.read(ChatImage(encoded(fields(1000, 1000)))).width == 1000
    assert process.pid is None  # the priority of the child that did it can't be raised again
    assert len(lowered) == 1
    process.close()


def test_limits_end_the_child_and_name_the_image() -> None:
    process = ImageProcess(limits=DecodeLimits(cpu_s=0.02))
    large = encoded(fields(2000, 2000), "JPEG")
    with pytest.raises(RequestError, match=r"takes more than 0\.02 s of computing"):
        process.read(ChatImage(large, param=PART))
    process.close()
    process = ImageProcess(limits=DecodeLimits(memory_bytes=120 << 20))
    with pytest.raises(RequestError, match=r"needs more than 120 MiB"):
        process.read(ChatImage(encoded(fields(3000, 3000), "PNG", compress_level=1), param=PART))
    process.close()


def test_a_png_of_a_great_size_takes_no_memory(process: ImageProcess) -> None:
    with pytest.raises(RequestError, match="pixels"):
        process.read(ChatImage(png_of_size(100_000, 100_000)))
