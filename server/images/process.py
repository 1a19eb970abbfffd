"""The child process that decodes images, with hard limits on time and memory.

`ImageProcess` is the parent's side, for workers; `python -m server.images.process` is the child. A job is a
part (`pipe`), an image's bytes; the reply an `_Outcome` in msgpack, then the pixels. The kernel enforces the
limits, so they hold inside native code too. A child that was ended is started again by the next image. It
ends by itself at the end of its stdin.
"""

from __future__ import annotations

import contextlib
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import IO, Any, Final

import msgspec

from models.errors import CorralError, RequestError
from models.machine.child_process import describe_exit, end_child, module_command
from models.machine.priority import take_what_is_left
from models.machine.process_limits import limit_memory, set_timers
from server.images.limits import DecodeLimits
from server.images.picture import Picture, Unreadable
from server.images.pipe import read_part, write_part
from server.ipc.chat_image import ChatImage

QUICK_S: Final = 0.5
"""An image that takes longer is decoded with what others leave of the cores: threads that compute answers
wait for each other, and would wait for whoever shares a core with one of them."""


class _Outcome(msgspec.Struct, frozen=True):
    width: int = 0
    height: int = 0
    problem: str | None = None

    @property
    def n_bytes(self) -> int:
        return 3 * self.width * self.height


class ImageProcess:
    """One child that decodes images, one at a time. Thread-safe; the child starts with the first image."""

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self._limits = limits or DecodeLimits()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end_child: Any = None
        self._gives_way = False
        """The child is decoding something that takes long."""

    @property
    def pid(self) -> int | None:
        """The child's id; None while there is none."""
        return None if self._child is None else self._child.pid

    def read(self, image: ChatImage) -> Picture:
        """Return an image decoded, of which the bytes are there. Raises RequestError, which names its part.

        CorralError: the child died, twice, of something else than its limits.
        """
        assert not image.url, "it was never fetched"
        with self._lock:
            try:
                return self._read(image)
            finally:
                if self._gives_way:  # from there is no way back
                    self._close()

    def close(self) -> None:
        """End the child. The object may be used again, which starts another."""
        with self._lock:
            self._close()

    def _read(self, image: ChatImage) -> Picture:
        for _ in range(2):  # a child may have been ended between two images
            picture = self._exchange(image)
            if picture is not None:
                return picture
            assert self._child is not None
            status = self._child.wait()
            self._close()
            if (limit := self._limit_that_ended(status)) is not None:
                raise unusable(image, f"takes {limit} to read; send a smaller one")
        raise CorralError(f"the process that decodes images {describe_exit(status)}, twice with this one")

    def _exchange(self, image: ChatImage) -> Picture | None:
        """Return the picture; None if the child ended. Raises RequestError."""
        child = self._running_child()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            write_part(child.stdin, image.data)
        except BrokenPipeError:
            return None
        ready, _, _ = select.select([child.stdout], [], [], QUICK_S)
        if not ready:
            self._gives_way = True
            take_what_is_left(child.pid)
        reply = read_part(child.stdout)
        if reply is None:
            return None
        outcome = msgspec.msgpack.decode(reply, type=_Outcome)
        if outcome.problem is not None:
            raise unusable(image, outcome.problem)
        rgb = child.stdout.read(outcome.n_bytes)
        return Picture(outcome.width, outcome.height, rgb) if len(rgb) == outcome.n_bytes else None

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                module_command(__name__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._end_child = weakref.finalize(self, end_child, self._child)
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # the exchange finds it dead
                write_part(self._child.stdin, msgspec.msgpack.encode(self._limits))
                read_part(self._child.stdout)  # its start is no image's time
        return self._child

    def _close(self) -> None:
        if self._end_child is not None:
            self._end_child()
        self._child = self._end_child = None
        self._gives_way = False

    def _limit_that_ended(self, status: int) -> str | None:
        if status == -signal.SIGPROF:
            return f"more than {self._limits.cpu_s:g} s of computing"
        if status == -signal.SIGALRM:
            return f"more than {self._limits.wall_s:g} s"
        return None


def unusable(image: ChatImage, problem: str) -> RequestError:
    """Return the error of an image that can't be used; `problem` fits after "the image"."""
    return RequestError(f"the image of '{image.param}' {problem}", param=image.param, code="invalid_image")


# --- the child ----------------------------------------------------------------------------------------------


def serve(jobs: IO[bytes], replies: IO[bytes]) -> None:
    """Decode images until `jobs` ends."""
    first = read_part(jobs)
    if first is None:
        return
    limits = msgspec.msgpack.decode(first, type=DecodeLimits)
    decode = _decoder()  # before the limits: what is for an image is all an image's
    limit_memory(limits.memory_bytes)
    write_part(replies, b"")  # it is ready
    while (job := read_part(jobs)) is not None:
        set_timers(limits.cpu_s, limits.wall_s)
        outcome, rgb = _answer(job, limits, decode)
        set_timers(0, 0)
        write_part(replies, msgspec.msgpack.encode(outcome))
        replies.write(rgb)
        replies.flush()


def _decoder() -> Callable[[bytes], Picture]:
    """Return what decodes a file. It is imported here alone: nobody else needs Pillow."""
    try:
        from server.images.decode import decode
    except ImportError as error:
        problem = f"can't be decoded here: {error}; run `make setup`"

        def refuse(_data: bytes) -> Picture:
            raise Unreadable(problem)

        return refuse
    return decode


def _answer(data: bytes, limits: DecodeLimits, decode: Callable[[bytes], Picture]) -> tuple[_Outcome, bytes]:
    try:
        picture = decode(data)
    except Unreadable as error:
        return _Outcome(problem=str(error)), b""
    except MemoryError:
        problem = f"needs more than {limits.memory_bytes >> 20} MiB to be decoded; make it smaller"
        return _Outcome(problem=problem), b""
    return _Outcome(picture.width, picture.height), picture.rgb


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    serve(sys.stdin.buffer, sys.stdout.buffer)
