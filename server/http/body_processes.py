"""`BodyProcesses`: the parent's side of the processes that read large bodies.

A body goes to a process in the parts in which it came, and what was read comes back, in a thread that does
nothing but read and write pipes: it lets go of the interpreter's lock for all that takes time. A body that
takes more computing than an allowance has for it is read with what others leave of the cores: threads that
decode wait for each other, and would wait for every reader.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import subprocess
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import LifoQueue
from typing import IO, Any

import msgspec

from models.errors import CorralError, RequestError
from models.machine.allowance import Allowance
from models.machine.child_process import describe_exit, end_child, module_command
from models.machine.priority import take_what_is_left
from server.openai.requests import reading_process
from server.openai.requests.body_limits import is_short
from server.openai.requests.reading import ReadJob, ReadRequest, kept_parts
from server.openai.requests.reading_process import LENGTH, READ_S, head_of, joined, read_part

logger = logging.getLogger("corral.http")

N_PROCESSES = 2
"""So many short bodies are read at the same time, and as many long ones, each by a process of its own."""


class BodyProcesses:
    """Processes that are started when they are needed first, and kept. Belongs to no event loop.

    Short bodies have processes of their own: reading the largest takes seconds.
    """

    def __init__(self, allowance: Allowance | None = None) -> None:
        """`allowance`: the time in which the reading of bodies doesn't give way to everything else."""
        allowance = allowance or Allowance()
        self._short, self._long = _Group(allowance), _Group(allowance)

    @property
    def pids(self) -> list[int]:
        """The processes that were started and not found dead."""
        return [*self._short.pids, *self._long.pids]

    @property
    def n_started(self) -> int:
        """The number of processes that have been started so far."""
        return self._short.n_started + self._long.n_started

    async def read(self, job: ReadJob, body: list[bytes]) -> ReadRequest:
        """Return what `reading.read` makes of the body's parts, its long fields encoded. Raises as it does.

        `body` is empty afterwards: to free so many bytes takes time, too. Raises CorralError if the process
        died twice, and RequestError if it took too long.
        """
        return await (self._short if is_short([*body, *kept_parts(job)]) else self._long).read(job, body)

    def close(self) -> None:
        """End the processes once they have read what they have; the object may be used no more."""
        for group in (self._short, self._long):
            group.close()


class _Group:
    """Some processes, and a thread for each."""

    def __init__(self, allowance: Allowance) -> None:
        self._threads = ThreadPoolExecutor(N_PROCESSES, thread_name_prefix="body")
        self._processes = [_BodyProcess(allowance) for _ in range(N_PROCESSES)]
        self._idle: LifoQueue[_BodyProcess] = LifoQueue()
        for process in self._processes:
            self._idle.put(process)

    @property
    def n_started(self) -> int:
        return sum([process.n_started for process in self._processes])

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes if process.pid is not None]

    async def read(self, job: ReadJob, body: list[bytes]) -> ReadRequest:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, job, body)

    def close(self) -> None:
        self._threads.shutdown()
        for process in self._processes:
            process.close()

    def _read(self, job: ReadJob, body: list[bytes]) -> ReadRequest:
        process = self._idle.get()  # there are as many as threads
        try:
            return process.read(job, body)
        finally:
            self._idle.put(process)
            while body:
                body.pop()


class _BodyProcess:
    """One process; one body at a time."""

    def __init__(self, allowance: Allowance) -> None:
        self.n_started = 0
        self._allowance = allowance
        self._child: subprocess.Popen[bytes] | None = None
        self._end_child: Any = None

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def read(self, job: ReadJob, body: Sequence[bytes]) -> ReadRequest:
        for _ in range(2):  # a process may have been ended between two bodies
            found = self._exchange(job, body)
            if found is not None:
                return found
            assert self._child is not None
            status = self._child.wait()
            self.close()
            if status == -signal.SIGPROF:
                raise RequestError(
                    f"the request's body takes more than {READ_S:g} s of computing; send less at once",
                    code="body_takes_too_long",
                )
            logger.warning("the process that reads large requests %s", describe_exit(status))
        raise CorralError("the process that reads large requests ended twice while it read this one")

    def close(self) -> None:
        if self._end_child is not None:
            self._end_child()
        self._child = self._end_child = None

    def _exchange(self, job: ReadJob, body: Sequence[bytes]) -> ReadRequest | None:
        """Return what was read; None if the process ended."""
        child = self._running_child()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            encoded = msgspec.msgpack.encode(job)
            _write(child.stdin, LENGTH.pack(len(encoded)), encoded, LENGTH.pack(sum(map(len, body))), *body)
        except BrokenPipeError:
            return None
        if not self._reads(child.stdout.fileno()) or (first := read_part(child.stdout)) is None:
            return None
        head = head_of(first)
        long: list[bytes] = []
        for _ in range(head.n_parts):
            part = read_part(child.stdout)
            if part is None:
                return None
            long.append(part)
        return joined(head, long)

    def _reads(self, reply: int) -> bool:
        """Wait for what was read; False if there is nothing. Beyond the allowance, the reader gives way.

        The reader's id is read past the file's buffer, as `select` sees only what isn't in there.
        """
        if len(reader := os.read(reply, LENGTH.size)) < LENGTH.size:
            return False
        quick_s, begin = self._allowance.offer(), time.monotonic()
        ready, _, _ = select.select([reply], [], [], quick_s)
        self._allowance.spend(min(quick_s, time.monotonic() - begin))
        if not ready:
            take_what_is_left(LENGTH.unpack(reader)[0])
        return True

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                module_command(reading_process.__name__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self.n_started += 1
            self._end_child = weakref.finalize(self, end_child, self._child)
        return self._child


def _write(file: IO[bytes], *parts: bytes) -> None:
    for part in parts:
        file.write(part)
    file.flush()
