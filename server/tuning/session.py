"""The parent's end of one measuring process."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from models.errors import LlamaCppError, WorkerDied
from models.machine.child_process import describe_exit, module_command
from server.ipc.launch import worker_environment
from server.ipc.model_spec import ModelSpec
from server.tuning.messages import Figures, FromMeasurer, Job, MeasureRequest, Ready, Refused, ToMeasurer

LOAD_TIMEOUT_S = 900.0
ANSWER_TIMEOUT_S = 180.0
"""A process that takes more seconds than these to load, or to measure once, is hanging."""

END_S = 5.0
"""A process has this many seconds to end before it is killed."""

A = TypeVar("A", Ready, Figures)

COMMAND = tuple(module_command("server.tuning.measure"))


class Session(Protocol):
    """A candidate that is loaded and can be measured."""

    def measure(self, request: MeasureRequest) -> Figures:
        """Measure once. Raises WorkerDied or LlamaCppError."""

    def close(self) -> None:
        """Free the memory."""


def measuring_environment(job: Job, base: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's environment, with the job's waiting policy instead of one that the user has set."""
    unset = {name: value for name, value in base.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    spec = ModelSpec(name="tune", path=job.path, options=job.options)
    return worker_environment(spec, unset, spin_count=job.spin_count)


class MeasuringProcess:
    """A process that loads and measures: the constructor starts it, `close` ends it.

    Raises WorkerDied when it crashes or hangs, LlamaCppError when llama.cpp refuses the job.
    """

    def __init__(
        self,
        job: Job,
        *,
        command: Sequence[str] = COMMAND,
        env: Mapping[str, str] = os.environ,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._answer_timeout_s = answer_timeout_s
        self._decoder = msgspec.json.Decoder(FromMeasurer)
        self._unread = b""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=measuring_environment(job, env),
            start_new_session=True,  # a Ctrl-C in the terminal is for the parent
        )
        try:
            self.ready = self._exchange(job, load_timeout_s, Ready)
        except BaseException:  # Ctrl-C, too, ends the process
            self.close()
            raise

    def measure(self, request: MeasureRequest) -> Figures:
        return self._exchange(request, self._answer_timeout_s, Figures)

    def close(self) -> None:
        """Safe to call twice."""
        process = self._process
        if process.returncode is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, self._stderr):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):  # what it never read
                    stream.close()

    def _exchange(self, message: ToMeasurer, timeout_s: float, kind: type[A]) -> A:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
            answer = self._decoder.decode(self._line(time.monotonic() + timeout_s))
        except (BrokenPipeError, EOFError):
            raise WorkerDied(f"the measuring process {self._end()}") from None
        except TimeoutError:
            raise WorkerDied(f"the measuring process gave no answer within {timeout_s:g} s") from None
        except msgspec.MsgspecError as error:
            raise WorkerDied(f"the measuring process answered nonsense: {error}") from error
        if isinstance(answer, Refused):
            raise LlamaCppError(answer.message)
        assert isinstance(answer, kind)
        return answer

    def _line(self, deadline_s: float) -> bytes:
        """Raises EOFError when the process has ended, TimeoutError at the deadline."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
            if not readable:
                raise TimeoutError
            data = os.read(descriptor, 65536)
            if not data:
                raise EOFError
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _end(self) -> str:
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return "closed its end"
        self._stderr.seek(0)
        return describe_exit(code, self._stderr.read().decode(errors="replace"))
