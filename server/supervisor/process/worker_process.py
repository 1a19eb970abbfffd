"""`WorkerProcess`: one worker as the API process sees it, from its start to the report of its end.

Frames go down, events and replies come up. The object owns the process, its end of the socket pair and its
stderr pipe, and frees all three when the process has ended, however it did. It belongs to the event loop that
started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from models.errors import CorralError, RequestError, WorkerDied
from server.engine.events import Failure
from server.ipc.frames import FrameError, encode_frame, frame_parts
from server.ipc.launch import worker_command, worker_environment
from server.ipc.messages import (
    Cancel,
    Drain,
    GiveWay,
    LoadAdapter,
    Question,
    Stats,
    StatsReply,
    UnloadAdapter,
    Work,
    WorkerRequest,
)
from server.ipc.model_spec import ModelInfo, ModelSpec
from server.ipc.pulse import Pulse
from server.metrics.request_meter import RequestMeter
from server.requests.answer_record import AnswerRecord
from server.supervisor.policy import Policy
from server.supervisor.process.connection import WorkerConnection
from server.supervisor.process.dispatcher import Dispatcher, OnProgress
from server.supervisor.process.exit_report import ExitReport
from server.supervisor.process.failures import error_of
from server.supervisor.process.hardship import ProcessWatcher
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.process.vigil import Vigil
from server.supervisor.protocol import EventListener

logger = logging.getLogger("corral.supervisor")
worker_logger = logging.getLogger("corral.worker")

HEARTBEAT_ID = "heartbeat"
"""The supervisor's own `Stats` requests have this id; no caller waits for their replies."""
LAST_WORDS_S = 0.2
"""The last messages of a process that has ended may take so long to come, in seconds."""
STDERR_LINES = 60
"""So many last lines of a worker's stderr are kept for the report of its end."""
STDERR_LINE_BYTES = 8192
"""A longer line is cut to its last so many bytes."""

Call = Question | LoadAdapter | UnloadAdapter
Command = Callable[[int], Sequence[str]]
"""Makes the command line of a worker from its descriptor; that of its pulse is added."""
Environment = Callable[[ModelSpec], Mapping[str, str]]
R = TypeVar("R")


class WorkerProcess:
    """A worker made by `spawn`. Await `ready` first, then use `open` and `call`; `ended` reports its end."""

    def __init__(
        self,
        spec: ModelSpec,
        policy: Policy,
        process: asyncio.subprocess.Process,
        pulse: Pulse,
        on_progress: OnProgress,
    ) -> None:
        self.spec = spec
        self.draining = False
        self._gives_way = False
        """The worker has been told to give way; at first it doesn't."""
        self._policy = policy
        self._process = process
        self._pulse = pulse
        self._dispatcher = Dispatcher(spec.name, on_progress)
        self._connection = WorkerConnection(self._dispatcher.on_frame)
        self._stderr = StderrTail(spec.name)
        self._verdict: str | None = None
        self._killed = asyncio.Event()
        self._ended: asyncio.Future[ExitReport] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def spawn(
        cls,
        spec: ModelSpec,
        policy: Policy,
        on_progress: OnProgress,
        command: Command = worker_command,
        environment: Environment = worker_environment,
    ) -> WorkerProcess:
        """Start the process and send it its spec.

        The process makes a group of its own (`server.worker.__main__`): a Ctrl-C in the terminal reaches only
        the API process, which lets the worker finish.
        """
        pulse = Pulse.make()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            process = await asyncio.create_subprocess_exec(
                *command(theirs.fileno()),
                *("--pulse", str(pulse.fd)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), pulse.fd),
                env=dict(environment(spec)),
            )
        except BaseException:  # a cancelled start, too, leaves nothing
            ours.close()
            pulse.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        worker = cls(spec, policy, process, pulse, on_progress)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: worker._connection, sock=ours)
        except BaseException:  # a cancelled start, too, leaves nothing
            ours.close()
            process.kill()
            pulse.close()
            raise
        worker._connection.write(encode_frame(spec))
        worker._tasks = [
            asyncio.create_task(worker._run(), name=f"worker {spec.name}"),
            asyncio.create_task(worker._watch_for_hang(), name=f"heartbeat {spec.name}"),
        ]
        for task in worker._tasks:
            task.add_done_callback(worker._after)
        return worker

    # --- requests ---

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def n_running(self) -> int:
        """The number of requests that have not ended."""
        return self._dispatcher.n_streams

    @property
    def n_started(self) -> int:
        """The number of those that it has begun; the others wait in it."""
        return self._dispatcher.n_started

    @property
    def latest_stats(self) -> StatsReply | None:
        """The counters that it has sent last, None before it was asked for any."""
        return self._dispatcher.stats

    @property
    def alive(self) -> bool:
        """True while messages can be sent. Once they can't, `ended` is near."""
        return self._connection.open

    async def ready(self) -> ModelInfo:
        """Waits until the model is loaded and warm. Raises WorkerDied, or the worker's refusal."""
        return await asyncio.shield(self._dispatcher.loaded)

    def open(
        self,
        request: Work,
        listener: EventListener,
        meter: RequestMeter | None = None,
        record: AnswerRecord | None = None,
    ) -> RequestStream:
        """Send the request; `listener` gets its events, to one `Finish` or `Failure`. `close` it in any case.

        The stream raises WorkerDied when the worker ended before it took the request: the next worker may
        have it. So does this, when the worker has ended already. With a `record` of what came of its
        answer the next one may also go on with it, see `RequestStream`.
        """
        self._dispatcher.check_new(request.id)
        self._send(request)
        return self._dispatcher.open(request.id, listener, meter, record)

    def close(self, request_id: str) -> None:
        """Cancel the request if it hasn't ended."""
        if self._dispatcher.close(request_id) and self.alive:
            with contextlib.suppress(CorralError):
                self._send(Cancel(id=request_id))

    def give_way(self, active: bool) -> None:
        """Tell a worker that makes vectors to let others' work go first, or no more, unless it knows."""
        if self.alive and active != self._gives_way:
            self._gives_way = active
            with contextlib.suppress(CorralError):
                self._send(GiveWay(active))

    async def call(self, message: Call, reply_type: type[R], on_part: Callable[[R], None] | None = None) -> R:
        """One reply to one message. Raises RequestError if the worker refuses it, WorkerDied if it ends.

        `on_part` gets each part of a long reply but the last; without it the parts come as one.
        """
        future = self._dispatcher.expect(message.id, on_part)
        try:
            self._send(message)
            reply = await future
        finally:
            self._dispatcher.forget(message.id)
        if isinstance(reply, Failure):
            raise error_of(reply)
        if not isinstance(reply, reply_type):
            raise FrameError(f"the worker answered {type(message).__name__} with {type(reply).__name__}")
        return reply

    async def drain(self, grace_s: float) -> ExitReport:
        """Let the worker finish what runs and end; kill it if that takes longer than `grace_s` seconds."""
        self.draining = True
        with contextlib.suppress(CorralError):
            self._send(Drain(grace_s=grace_s))
        try:
            return await asyncio.wait_for(self.ended(), grace_s + self._policy.exit_wait_s)
        except TimeoutError:
            logger.warning(
                "the worker for %s did not finish within %.0f s and is killed; %d requests are cut off",
                *(self.spec.name, grace_s, self.n_running),
            )
            self.kill(f"it was to end, and was not done after {grace_s:.0f} s")
            return await self.ended()

    def kill(self, verdict: str | None = None) -> None:
        """End the worker now. Its running requests fail as they do when it dies, and are told the verdict."""
        self._verdict = self._verdict or verdict
        if not self._ended.done() and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._killed.set()

    async def ended(self) -> ExitReport:
        """Wait until the process is gone and everything of it is freed; return how it ended."""
        return await asyncio.shield(self._ended)

    # --- the process's life ---

    def _send(self, message: WorkerRequest) -> None:
        if not self._connection.open:
            raise WorkerDied(f"the worker for model {self.spec.name} has ended; send the request again")
        try:
            parts = frame_parts(message)
        except FrameError as error:
            raise RequestError(f"the request is too large: {error.message}") from error
        self._connection.write(*parts)

    async def _run(self) -> None:
        """Wait until the worker closes its end of the socket and exits, then fail every open call."""
        assert self._process.stderr is not None
        stderr_task = asyncio.create_task(self._stderr.read(self._process.stderr))
        exited = asyncio.create_task(self._process.wait())
        killed = asyncio.create_task(self._killed.wait())
        try:
            closed = asyncio.shield(self._connection.closed)
            either: list[asyncio.Future[Any]] = [closed, exited, killed]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not closed.done():  # a child of its may hold the socket; what it said itself comes first
                await asyncio.wait([closed], timeout=LAST_WORDS_S)
            broken = closed.result() if closed.done() else None
            if broken is not None:
                self._verdict = broken.message
                self.kill()
        finally:
            exited.cancel()
            killed.cancel()
            self._connection.close()
            if self._killed.is_set():  # one that waits for a driver or a disk may take long to end
                self._settle(self._report(-signal.SIGKILL))
            self._finish(await self._wait_for_exit(stderr_task))

    def _finish(self, report: ExitReport) -> None:
        """Tell everybody that the process is gone."""
        if not self._ended.done():
            self._ended.set_result(report)
        self._tasks[1].cancel()
        self._pulse.close()
        self._settle(report)

    def _settle(self, report: ExitReport) -> None:
        """Answer all who wait; what was to be ended with this process doesn't go on in another one."""
        self._dispatcher.settle(report, goes_on=not self.draining)

    def _after(self, task: asyncio.Task[None]) -> None:
        """End the worker if the task met a defect: it isn't watched any more, and nobody awaits the task."""
        if task.cancelled() or (defect := task.exception()) is None:
            return
        logger.error("the worker for %s can't be watched and is killed", self.spec.name, exc_info=defect)
        self.kill(f"it could not be watched: {type(defect).__name__}")
        if task is self._tasks[0]:
            self._finish(self._report(-signal.SIGKILL))

    async def _wait_for_exit(self, stderr_task: asyncio.Task[None]) -> ExitReport:
        """Wait for the exit of a process that has closed its socket, or kill it, and all that it started."""
        try:
            await asyncio.wait_for(self._process.wait(), self._policy.exit_wait_s)
        except TimeoutError:
            self._verdict = self._verdict or "it closed its connection but did not end"
            self.kill()
        except asyncio.CancelledError:
            self.kill()
        returncode = await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(
                self._process.pid, signal.SIGKILL
            )  # what it had started itself, if it could not end that
        await asyncio.wait([stderr_task], timeout=0.2)
        stderr_task.cancel()
        return self._report(returncode)

    def _report(self, returncode: int) -> ExitReport:
        return ExitReport(returncode, self._stderr.lines, self._verdict, self.spec.options.split)

    async def _watch_for_hang(self) -> None:
        """Kill a worker that is stopped, is stuck in a step, or has work and is silent though it is asked."""
        policy, dispatcher = self._policy, self._dispatcher
        vigil = Vigil(policy, ProcessWatcher(self.pid))
        since_asked_s = 0.0
        while True:
            await asyncio.sleep(min(policy.look_s, policy.heartbeat_s))
            verdict = vigil.verdict(
                self._pulse.read(),
                dispatcher.n_messages,
                has_work=dispatcher.has_work,
                jobs=self._pulse.read_jobs(),
            )
            if verdict is not None:
                logger.error("the worker for %s: %s", self.spec.name, verdict)
                self.kill(verdict)
                return
            since_asked_s += policy.look_s
            if dispatcher.has_work and since_asked_s >= policy.heartbeat_s:
                since_asked_s = 0.0
                with contextlib.suppress(CorralError):
                    self._send(Stats(id=HEARTBEAT_ID))


class StderrTail:
    """The last lines that a worker wrote to stderr, kept for the report of its end; all go to the log.

    `read` runs until the pipe closes; `lines` can be read at any time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: deque[str] = deque(maxlen=STDERR_LINES)

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines, the oldest first."""
        return tuple(self._lines)

    async def read(self, pipe: asyncio.StreamReader) -> None:
        """Read the pipe to its end."""
        rest = b""
        while chunk := await pipe.read(STDERR_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-STDERR_LINE_BYTES:]
            for line in lines:
                self._add(line)
        self._add(rest)

    def _add(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip()
        if text:
            self._lines.append(text)
            worker_logger.info("%s: %s", self._name, text)
