from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Iterator, Sequence

import pytest

from models.errors import CorralError, RequestError, WorkerBusy
from server.images.fetch_process import ImageFetcher
from server.images.limits import MAX_ADDRESS, MAX_BYTES, FetchLimits
from server.ipc.chat_image import ChatImage
from tests.server.images.site import Site, running_site

PATIENCE_S = 60.0
FILES = {"/a": b"a" * 1000, "/b": b"b" * 2000, "/slow": b"s" * 3000, "/large": bytes(MAX_BYTES + 1)}


class Fetches:
    """A fetcher, and what its requests get."""

    def __init__(self, limits: FetchLimits | None = None) -> None:
        self.fetcher = ImageFetcher(["127.0.0.*"], limits)
        self._results: dict[str, queue.SimpleQueue[Sequence[ChatImage] | CorralError]] = {}

    def begin(self, request_id: str, *urls: str) -> None:
        images = [ChatImage(url=url, param=f"messages[{i}]") for i, url in enumerate(urls)]
        self._results[request_id] = queue.SimpleQueue()
        self.fetcher.fetch(request_id, images, self._results[request_id].put)

    def end(self, request_id: str) -> list[bytes]:
        found = self._results[request_id].get(timeout=PATIENCE_S)
        if isinstance(found, CorralError):
            raise found
        assert not any(image.url for image in found)
        return [image.data for image in found]

    def fetch(self, request_id: str, *urls: str) -> list[bytes]:
        self.begin(request_id, *urls)
        return self.end(request_id)

    def hears_nothing(self, request_id: str) -> bool:
        return self._results[request_id].empty()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    redirects = {"/elsewhere": "http://localhost:1/x.png", "/there": "/b", "/round": "/round"}
    with running_site(dict(FILES), redirects) as found:
        yield found


@pytest.fixture(scope="module")
def fetches() -> Iterator[Fetches]:
    made = Fetches()
    yield made
    made.fetcher.close()


def test_images_come_in_their_order_and_those_with_bytes_stay(site: Site) -> None:
    fetches, found = Fetches(), queue.SimpleQueue[Sequence[ChatImage] | CorralError]()
    images = [
        ChatImage(url=f"{site.url}/a"),
        ChatImage(b"here", param="p"),
        ChatImage(url=f"{site.url}/there"),
    ]
    fetches.fetcher.fetch("r", images, found.put)
    assert found.get(timeout=PATIENCE_S) == [ChatImage(FILES["/a"]), images[1], ChatImage(FILES["/b"])]
    fetches.fetcher.close()


def test_what_cannot_be_fetched_is_named(fetches: Fetches, site: Site) -> None:
    refusals = {
        f"{site.url}/none": "answers 404",
        f"{site.url}/large": "has more than 20,971,520 bytes",
        f"{site.url}/elsewhere": "is at localhost",
        f"{site.url}/round": "leads to more than",
        "http://127.0.0.1:1/a.png": "can't be fetched",
        "http://example.org/a.png": r"is at example\.org.*--image-hosts",
        "file:///etc/hostname": "of a kind that isn't fetched",
        "http://[": "address",
        f"{site.url}/{'a' * MAX_ADDRESS}": "an address of 8,2",
    }
    for url, words in refusals.items():
        with pytest.raises(RequestError, match=words) as caught:
            fetches.fetch("r", f"{site.url}/a", url)
        assert (caught.value.param, caught.value.code) == ("messages[1]", "invalid_image")
        fetches.fetcher.done("r")


def test_slow_hosts_hold_up_their_own_requests_alone(fetches: Fetches, site: Site) -> None:
    n_slow = 20
    for i in range(n_slow):
        fetches.begin(f"slow {i}", f"{site.url}/slow", f"{site.url}/a")
    for _ in range(n_slow):
        assert site.waiting.acquire(timeout=PATIENCE_S)
    assert fetches.fetch("quick", f"{site.url}/a", f"{site.url}/b") == [FILES["/a"], FILES["/b"]]
    fetches.fetcher.done("slow 0")  # its client has gone
    assert all(fetches.hears_nothing(f"slow {i}") for i in range(n_slow))
    site.gate.set()
    for i in range(1, n_slow):
        assert fetches.end(f"slow {i}") == [FILES["/slow"], FILES["/a"]]
        fetches.fetcher.done(f"slow {i}")
    fetches.fetcher.done("quick")
    assert fetches.hears_nothing("slow 0")


def test_what_takes_too_long_is_given_up(site: Site) -> None:
    fetches = Fetches(FetchLimits(request_s=2.0))
    begin_s = time.monotonic()
    fetches.begin("r", f"{site.url}/a", f"{site.url}/slow")
    with pytest.raises(RequestError, match=r"isn't there after 2 s") as caught:
        fetches.end("r")
    assert caught.value.param == "messages[1]"
    assert 2.0 <= time.monotonic() - begin_s < PATIENCE_S / 2  # the host goes on waiting
    fetches.fetcher.close()


def test_bytes_and_requests_are_bounded(site: Site) -> None:
    fetches = Fetches(FetchLimits(request_bytes=2500, total_bytes=3500, n_requests=2))
    with pytest.raises(RequestError, match="more than 2,500 bytes together"):
        fetches.fetch("a", f"{site.url}/a", f"{site.url}/b")
    assert fetches.fetch("b", f"{site.url}/b") == [FILES["/b"]]  # and they count until they are used
    with pytest.raises(WorkerBusy, match="more than 3,500 bytes"):
        fetches.fetch("c", f"{site.url}/b")
    fetches.fetcher.done("b")
    assert fetches.fetch("c", f"{site.url}/b") == [FILES["/b"]]
    fetches.fetcher.done("c")
    for name in ("d", "e"):
        fetches.begin(name, f"{site.url}/slow")
    with pytest.raises(WorkerBusy, match="those of more than 2"):
        fetches.begin("f", f"{site.url}/a")
    fetches.fetcher.close()


def test_a_child_that_dies_fails_its_requests_and_is_started_again(site: Site) -> None:
    fetches = Fetches()
    fetches.begin("a", f"{site.url}/slow")
    assert site.waiting.acquire(timeout=PATIENCE_S)
    assert fetches.fetcher.pid is not None
    os.kill(fetches.fetcher.pid, signal.SIGKILL)
    with pytest.raises(CorralError, match="died of SIGKILL"):
        fetches.end("a")
    assert fetches.fetch("b", f"{site.url}/a") == [FILES["/a"]]
    fetches.fetcher.close()
    assert fetches.fetcher.pid is None
