"""The child process that fetches images, each request's in a task of its own. See `fetch_process`."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Final

import msgspec

from models.machine.process_limits import limit_memory
from server.images.fetch import fetch
from server.images.fetch_process import Done, Fetch, Fetched, Setup
from server.images.picture import Unreadable
from server.images.pipe import read_part, write_part

N_RESOLVERS: Final = 32
"""So many hosts are looked up at the same time, each by a thread that can't be interrupted."""


class _Problem(Exception):
    """An image that can't be fetched; `text` fits after "the image"."""

    def __init__(self, index: int, text: str) -> None:
        super().__init__(text)
        self.index = index
        self.text = text


class _Busy(Exception):
    """All requests' images have too many bytes together."""


class _Fetching:
    """Fetches the images of requests, each request in a task of its own, and counts what they hold."""

    def __init__(self, setup: Setup, replies: IO[bytes]) -> None:
        self._setup = setup
        self._replies = replies
        self._writer = ThreadPoolExecutor(1, "replies")
        self._tls = ssl.create_default_context()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._held: dict[int, int] = {}

    def begin(self, job: Fetch) -> None:
        self._held[job.number] = 0
        self._tasks[job.number] = asyncio.create_task(self._run(job))

    def forget(self, number: int) -> None:
        """Count a request's images no more, and end what fetches them."""
        self._held.pop(number, None)
        if (task := self._tasks.pop(number, None)) is not None:
            task.cancel()

    async def _run(self, job: Fetch) -> None:
        files: list[bytes] = []
        try:
            files = await self._fetch_all(job)
            fetched = Fetched(job.number, tuple(map(len, files)))
        except _Problem as error:
            fetched = Fetched(job.number, problem=error.text, index=error.index)
        except (_Busy, MemoryError):
            fetched = Fetched(job.number, is_busy=True)
        if not files:
            self._held.pop(job.number, None)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._reply, fetched, files)

    async def _fetch_all(self, job: Fetch) -> list[bytes]:
        limits = self._setup.limits
        files: list[bytes | None] = [None] * len(job.urls)
        at_once = asyncio.Semaphore(limits.n_at_once)

        async def fetch_one(index: int) -> None:
            async with at_once:
                files[index] = await self._fetch(job, index)

        try:
            async with asyncio.timeout(limits.request_s), asyncio.TaskGroup() as group:
                for index in range(len(job.urls)):
                    group.create_task(fetch_one(index))
        except TimeoutError:
            text = (
                f"isn't there after {limits.request_s:g} s, the time for all images of a request; send its "
                "bytes as a data URL"
            )
            raise _Problem(files.index(None), text) from None
        except ExceptionGroup as error:
            raise error.exceptions[0] from None
        return [file for file in files if file is not None]

    async def _fetch(self, job: Fetch, index: int) -> bytes:
        limits = self._setup.limits

        def take(n_bytes: int) -> None:
            self._held[job.number] += n_bytes
            if self._held[job.number] > limits.request_bytes:
                raise Unreadable(
                    f"and the others of the request have more than {limits.request_bytes:,} bytes together; "
                    "send fewer or smaller ones"
                )
            if sum(self._held.values()) > limits.total_bytes:
                raise _Busy

        try:
            return await fetch(job.urls[index], self._setup.hosts, self._tls, take)
        except Unreadable as error:
            raise _Problem(index, str(error)) from None
        except (_Busy, MemoryError):
            raise
        except Exception as error:  # whatever a stranger's host makes the readers raise
            text = f"can't be fetched: {type(error).__name__}: {error}"[:200]
            raise _Problem(index, text) from error

    def _reply(self, fetched: Fetched, files: Sequence[bytes]) -> None:
        write_part(self._replies, msgspec.msgpack.encode(fetched))
        for file in files:
            self._replies.write(file)
        self._replies.flush()


async def serve(jobs: IO[bytes], replies: IO[bytes]) -> None:
    """Fetch images until `jobs` ends."""
    first = read_part(jobs)
    if first is None:
        return
    setup = msgspec.msgpack.decode(first, type=Setup)
    limit_memory(setup.limits.memory_bytes)
    fetching = _Fetching(setup, replies)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(N_RESOLVERS, "names"))
    with ThreadPoolExecutor(1, "jobs") as reader:
        while (part := await loop.run_in_executor(reader, read_part, jobs)) is not None:
            match msgspec.msgpack.decode(part, type=Fetch | Done):
                case Fetch() as job:
                    fetching.begin(job)
                case Done(number):
                    fetching.forget(number)
    os._exit(0)  # without waiting for threads that ask for hosts


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    asyncio.run(serve(sys.stdin.buffer, sys.stdout.buffer))
