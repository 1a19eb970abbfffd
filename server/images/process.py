"""The child process that decodes images, with hard limits on time and memory.

`ImageProcess` is the parent's side, for workers; `python -m server.images.process` is the child. A job is its
length in 4 bytes and a `ChatImage` in msgpack; the reply the same with an `_Outcome`, then the pixels. The
kernel enforces the limits, so they hold inside native code too. A child that was ended is started again by
the next image. It ends by itself at the end of its stdin.
"""

from __future__ import annotations

import contextlib
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import IO, Any

import msgspec

from models.errors import CorralError, RequestError
from models.machine.child_process import describe_exit, end_child, module_command
from models.machine.process_limits import limit_memory, set_timers
from server.images.fetch import fetch
from server.images.limits import DecodeLimits
from server.images.picture import Picture, Unreadable
from server.ipc.chat_image import ChatImage

_LENGTH = struct.Struct("<I")


class _Setup(msgspec.Struct, frozen=True):
    limits: DecodeLimits
    hosts: tuple[str, ...]


class _Outcome(msgspec.Struct, frozen=True):
    width: int = 0
    height: int = 0
    problem: str | None = None

    @property
    def n_bytes(self) -> int:
        return 3 * self.width * self.height


class ImageProcess:
    """One child that decodes images, one at a time. Thread-safe; the child starts with the first image."""

    def __init__(self, hosts: Sequence[str] = (), limits: DecodeLimits | None = None) -> None:
        """`hosts`: patterns of the hosts from which images are fetched, see `fetch`."""
        self._limits = limits or DecodeLimits()
        self._hosts = tuple(hosts)
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end_child: Any = None

    @property
    def pid(self) -> int | None:
        """The child's id; None while there is none."""
        return None if self._child is None else self._child.pid

    def read(self, image: ChatImage) -> Picture:
        """Return the decoded image. Raises RequestError, which names its part, for one that can't be used.

        CorralError: the child died, twice, of something else than its limits.
        """
        with self._lock:
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

    def close(self) -> None:
        """End the child. The object may be used again, which starts another."""
        with self._lock:
            self._close()

    def _exchange(self, image: ChatImage) -> Picture | None:
        """Return the picture; None if the child ended. Raises RequestError."""
        child = self._running_child()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            _write(child.stdin, msgspec.msgpack.encode(image))
        except BrokenPipeError:
            return None
        reply = _read(child.stdout)
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
            with contextlib.suppress(BrokenPipeError):  # the exchange finds it dead
                _write(self._child.stdin, msgspec.msgpack.encode(_Setup(self._limits, self._hosts)))
        return self._child

    def _close(self) -> None:
        if self._end_child is not None:
            self._end_child()
        self._child = self._end_child = None

    def _limit_that_ended(self, status: int) -> str | None:
        if status == -signal.SIGPROF:
            return f"more than {self._limits.cpu_s:g} s of computing"
        if status == -signal.SIGALRM:
            return f"more than {self._limits.wall_s:g} s"
        return None


def unusable(image: ChatImage, problem: str) -> RequestError:
    """Return the error of an image that can't be used; `problem` fits after "the image"."""
    return RequestError(f"the image of '{image.param}' {problem}", param=image.param, code="invalid_image")


def _write(file: IO[bytes], part: bytes) -> None:
    file.write(_LENGTH.pack(len(part)))
    file.write(part)
    file.flush()


def _read(file: IO[bytes]) -> bytes | None:
    """Return the next part; None at the end of the file, or where it ends within a part."""
    length = file.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    n_bytes: int = _LENGTH.unpack(length)[0]
    part = file.read(n_bytes)
    return part if len(part) == n_bytes else None


# --- the child ----------------------------------------------------------------------------------------------


def serve(jobs: IO[bytes], replies: IO[bytes]) -> None:
    """Decode images until `jobs` ends."""
    first = _read(jobs)
    if first is None:
        return
    setup = msgspec.msgpack.decode(first, type=_Setup)
    limits = setup.limits
    decode = _decoder()  # before the limits: what is for an image is all an image's
    limit_memory(limits.memory_bytes)
    while (job := _read(jobs)) is not None:
        set_timers(limits.cpu_s, limits.wall_s)
        outcome, rgb = _answer(msgspec.msgpack.decode(job, type=ChatImage), setup, decode)
        set_timers(0, 0)
        _write(replies, msgspec.msgpack.encode(outcome))
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


def _answer(image: ChatImage, setup: _Setup, decode: Callable[[bytes], Picture]) -> tuple[_Outcome, bytes]:
    try:
        picture = decode(fetch(image.url, setup.hosts) if image.url else image.data)
    except Unreadable as error:
        return _Outcome(problem=str(error)), b""
    except MemoryError:
        problem = f"needs more than {setup.limits.memory_bytes >> 20} MiB to be decoded; make it smaller"
        return _Outcome(problem=problem), b""
    return _Outcome(picture.width, picture.height), picture.rgb


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    serve(sys.stdin.buffer, sys.stdout.buffer)
