from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from models.errors import RequestError
from server.images.limits import MAX_BYTES, DecodeLimits
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


def test_what_is_broken_is_named_and_ends_nothing(process: ImageProcess) -> None:
    process.read(ChatImage(encoded(fields())))
    pid = process.pid
    assert pid is not None
    for data in broken_files(40):
        with pytest.raises(RequestError, match="the image of") as caught:
            process.read(ChatImage(data, param=PART))
        assert (caught.value.param, caught.value.code) == (PART, "invalid_image")
    assert process.pid == pid
    assert psutil.Process(pid).memory_info().rss < 200 << 20


def test_a_child_that_was_killed_is_started_again(process: ImageProcess) -> None:
    process.read(ChatImage(encoded(fields())))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    assert process.read(ChatImage(encoded(fields()))).width == 60


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


class _Images(BaseHTTPRequestHandler):
    files: dict[str, bytes]

    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://localhost:1/x.png")
            self.end_headers()
            return
        data = self.files.get(self.path)
        self.send_response(404 if data is None else 200)
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def site() -> Iterator[str]:
    _Images.files = {"/a.png": encoded(fields()), "/large": bytes(MAX_BYTES + 1), "/text": b"words"}
    with ThreadingHTTPServer(("127.0.0.1", 0), _Images) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_addresses_are_fetched_where_that_is_allowed(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    process = ImageProcess(["127.0.0.*"])
    assert process.read(ChatImage(url=f"{site}/a.png")).rgb == fields().tobytes()
    refusals = {
        f"{site}/none": "answers 404",
        f"{site}/large": "has more than",
        f"{site}/text": "none that this server reads",
        f"{site}/elsewhere": "is at localhost",
        "http://example.org/a.png": r"is at example\.org.*--image-hosts",
        "http://127.0.0.1:1/a.png": "can't be fetched",
        "file:///etc/hostname": "of a kind that isn't fetched",
        "http://[": "address",
    }
    for url, words in refusals.items():
        with pytest.raises(RequestError, match=words):
            process.read(ChatImage(url=url, param=PART))
    process.close()


def test_without_hosts_nothing_is_fetched(process: ImageProcess, site: str) -> None:
    with pytest.raises(RequestError, match="fetches nothing"):
        process.read(ChatImage(url=f"{site}/a.png"))


def test_a_png_of_a_great_size_takes_no_memory(process: ImageProcess) -> None:
    with pytest.raises(RequestError, match="pixels"):
        process.read(ChatImage(png_of_size(100_000, 100_000)))
