"""`ImageFetcher`: has the images of requests fetched side by side, by a child process (`fetching`).

On the pipes are parts (`pipe`): a `Setup`, then `Fetch` and `Done` go down; a `Fetched` comes up for each
`Fetch`, with the bytes of all images behind it. A slow host costs its own request alone. The child counts
bytes from the moment they come until the parent has used them. It ends by itself at the end of its stdin.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from models.errors import CorralError, WorkerBusy
from models.machine.child_process import describe_exit, end_child, module_command
from server.images.address import check_address
from server.images.limits import FetchLimits
from server.images.picture import Unreadable
from server.images.pipe import read_part, write_part
from server.images.process import unusable
from server.ipc.chat_image import ChatImage

RETRY_AFTER_S: Final = 5.0
"""Whoever finds too many images being fetched may come again after so many seconds."""
CHILD: Final = "server.images.fetching"
"""The child's module."""

Listener = Callable[[Sequence[ChatImage] | CorralError], None]


class Setup(msgspec.Struct, frozen=True):
    """The settings of a child, said first."""

    limits: FetchLimits
    hosts: tuple[str, ...]


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """The images of one request, to be fetched."""

    number: int
    urls: tuple[str, ...]


class Done(msgspec.Struct, frozen=True, tag=True):
    """The images of a request are needed no longer: the child forgets them, fetched or not."""

    number: int


class Fetched(msgspec.Struct, frozen=True):
    """The images of one request, fetched, or why not."""

    number: int
    sizes: tuple[int, ...] = ()
    """The bytes of each image."""
    problem: str | None = None
    index: int = 0
    """The problem is that of this image."""
    is_busy: bool = False


class _Waiting:
    """A request whose images are being fetched: all its images, and who wants to hear."""

    def __init__(self, images: Sequence[ChatImage], listener: Listener) -> None:
        self.images = images
        self.places = [i for i, image in enumerate(images) if image.url]
        self.listener = listener


class ImageFetcher:
    """Fetches the images of requests in one child, which starts with the first of them. Any thread."""

    def __init__(self, hosts: Sequence[str] = (), limits: FetchLimits | None = None) -> None:
        """`hosts`: patterns of the hosts from which images are fetched, see `fetch`."""
        self._limits = limits or FetchLimits()
        self._hosts = tuple(hosts)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._numbers_of: dict[str, int] = {}
        self._jobs: queue.SimpleQueue[Fetch | Done | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's id; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def fetch(self, request_id: str, images: Sequence[ChatImage], listener: Listener) -> None:
        """Begin to fetch those of a request's images that have an address. Doesn't block.

        `listener` gets all images, each with its bytes, or the error: a RequestError that names an image's
        part, a WorkerBusy, or a CorralError if the child died. It is called once, in a thread that it must
        not hold up, unless `done` comes first. Raises RequestError for an address that isn't allowed, and
        WorkerBusy.
        """
        for image in images:
            if image.url:
                try:
                    check_address(image.url, self._hosts)
                except Unreadable as error:
                    raise unusable(image, str(error)) from None
        waiting = _Waiting(images, listener)
        number = next(self._numbers)
        with self._lock:
            if len(self._waiting) >= self._limits.n_requests:
                raise WorkerBusy(
                    f"the images of {len(self._waiting)} requests are being fetched, and those of more than "
                    f"{self._limits.n_requests} are not; send their bytes as data URLs, or try again later",
                    RETRY_AFTER_S,
                )
            self._waiting[number] = waiting
            self._numbers_of[request_id] = number
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="image-fetcher", daemon=True)
                self._writer.start()
        self._jobs.put(Fetch(number, tuple(images[i].url for i in waiting.places)))

    def done(self, request_id: str) -> None:
        """Forget the images of a request, fetched or not: they count no more. Harmless without any."""
        with self._lock:
            number = self._numbers_of.pop(request_id, None)
            if number is None:
                return
            self._waiting.pop(number, None)
        self._jobs.put(Done(number))

    def close(self) -> None:
        """End the child; what is being fetched fails. The object may be used again, which starts another."""
        with self._lock:
            writer, self._writer = self._writer, None
            child, self._child = self._child, None
        if writer is not None:
            self._jobs.put(None)
            writer.join()
        if child is not None:
            end_child(child)

    # --- the writer's thread ---

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            child = self._child_for(job)
            if child is not None:
                assert child.stdin is not None
                with contextlib.suppress(BrokenPipeError, ValueError):  # the reader finds it dead
                    write_part(child.stdin, msgspec.msgpack.encode(job))

    def _child_for(self, job: Fetch | Done) -> subprocess.Popen[bytes] | None:
        """Return the child that is to have a job, started if there is none; None: nobody wants it done."""
        with self._lock:
            if isinstance(job, Fetch):
                if job.number not in self._waiting:
                    return None
                if self._child is None:
                    self._child = self._start()
            return self._child

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            module_command(CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        weakref.finalize(self, end_child, child)
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            write_part(child.stdin, msgspec.msgpack.encode(Setup(self._limits, self._hosts)))
        threading.Thread(target=self._read, args=(child,), name="images-fetched", daemon=True).start()
        return child

    # --- the reader's thread ---

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with contextlib.suppress(ValueError):  # it was closed
            while (head := read_part(child.stdout)) is not None:
                fetched = msgspec.msgpack.decode(head, type=Fetched)
                files = [child.stdout.read(size) for size in fetched.sizes]
                if list(map(len, files)) != list(fetched.sizes):
                    break
                self._tell(fetched, files)
        status = child.wait()
        with self._lock:
            if self._child is child:
                self._child = None
            lost, self._waiting = list(self._waiting.values()), {}
        for waiting in lost:
            waiting.listener(CorralError(f"the process that fetches images {describe_exit(status)}"))

    def _tell(self, fetched: Fetched, files: Sequence[bytes]) -> None:
        with self._lock:
            waiting = self._waiting.pop(fetched.number, None)
        if waiting is None:  # nobody wants them any more
            return
        image = waiting.images[waiting.places[fetched.index]]
        if fetched.is_busy:
            waiting.listener(
                WorkerBusy(
                    f"the images that are being fetched have more than {self._limits.total_bytes:,} bytes; "
                    "send smaller ones, or try again later",
                    RETRY_AFTER_S,
                )
            )
        elif fetched.problem is not None:
            waiting.listener(unusable(image, fetched.problem))
        else:
            images = list(waiting.images)
            for place, data in zip(waiting.places, files, strict=True):
                images[place] = ChatImage(data, param=images[place].param)
            waiting.listener(images)
