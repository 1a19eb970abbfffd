"""`JobTable`: the jobs of a server; each runs in a child of low priority, and ends with the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Sequence
from typing import Any

from models.errors import NotKept, RequestError
from models.machine.child_process import describe_exit, module_command
from server.jobs.job import JOB_FAILED, Job, Problem

logger = logging.getLogger("corral.jobs")

JOBS_KEPT = 100
"""So many jobs that have ended are remembered."""
MOST_RUNNING = 8
"""More jobs than this at a time are refused: each takes all cores that nobody else wants."""
CANCEL_GRACE_S = 30.0
"""A cancelled job has so many seconds to clean up before it is killed."""
STOP_GRACE_S = 5.0
"""All jobs have so many seconds to end when the server stops, before they are killed."""
LINE_BYTES = 1 << 20
"""The longest message of a job's process."""
JOB_MODULE = "server.cli.jobs.process"


class JobTable:
    """Belongs to the event loop. `command` begins the command line of a job's process."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = tuple(command or module_command(JOB_MODULE))
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._abandoned: set[str] = set()
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def list(self) -> list[Job]:
        """Return all jobs, the newest first."""
        return list(reversed(self._jobs.values()))

    def get(self, job_id: str) -> Job:
        """Return one. Raises NotKept."""
        job = self._jobs.get(job_id)
        if job is None:
            raise NotKept(f"there is no job {job_id!r}; GET /admin/jobs lists those of this server")
        return job

    def start(self, kind: str, model: str, types: tuple[str, ...] = (), *, stream: bool = False) -> Job:
        """Begin a job, or return the one that does the same already. Raises RequestError for too many.

        One that was told to end isn't joined: the new job begins behind it.
        """
        running = [job for job in self._jobs.values() if job.is_running]
        alike = [job for job in running if (job.kind, job.model, job.types) == (kind, model, types)]
        for job in alike:
            if not self._is_to_end(job):
                return job
        if len(running) >= MOST_RUNNING:
            raise RequestError(
                f"{len(running)} jobs run already, which is the limit; wait for one, or cancel it"
            )
        job = Job(kind, model, types)
        self._jobs[job.id] = job
        self._forget_old()
        wish = {"kind": kind, "model": model, "types": types, "stream": stream}
        before = [self._tasks[each.id] for each in alike]
        task = self._tasks[job.id] = asyncio.create_task(self._run(job, wish, before), name=job.id)
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        return job

    async def cancel(self, job_id: str) -> Job:
        """End a job and wait until nothing of it is left; one that has ended stays as it is."""
        job = self.get(job_id)
        task = self._tasks.get(job_id)
        if task is not None:
            self._cancelled.add(job_id)
            self._ask_to_end(job_id)
            await asyncio.wait([task], timeout=CANCEL_GRACE_S)
            self._kill(job_id)
            await asyncio.wait([task])
        return job

    def abandon(self, job_id: str) -> None:
        """Let a job end soon, as nobody waits for it; what it has done is kept for the next one."""
        if job_id in self._tasks:
            self._abandoned.add(job_id)
            self._ask_to_end(job_id)

    async def stop(self) -> None:
        """End all jobs: what they have done is kept for the next run where it can be gone on with."""
        for job_id in list(self._tasks):
            self.abandon(job_id)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=STOP_GRACE_S)
        for job_id in list(self._tasks):
            self._kill(job_id)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    # --- inside ---

    async def _run(self, job: Job, wish: dict[str, Any], before: Sequence[asyncio.Task[None]]) -> None:
        """Do it once the tasks before it, which are about to end, have left what they did."""
        try:
            if before:
                await asyncio.wait(before)
            if self._is_to_end(job):
                job.cancel()
            else:
                await self._follow(job, wish)
        except Exception as error:  # nobody awaits this task: the job itself tells
            logger.exception("%s failed", job.id)
            if job.is_running:
                job.fail(Problem(f"the job's process can't be run: {type(error).__name__}; see the log"))

    async def _follow(self, job: Job, wish: dict[str, Any]) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            start_new_session=True,
        )
        self._processes[job.id] = process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        tail = asyncio.create_task(_last_words(process.stderr))
        try:
            process.stdin.write(json.dumps(wish).encode() + b"\n")
            if self._is_to_end(job):
                self._ask_to_end(job.id)
            problem: Problem | None = None
            async for line in process.stdout:
                problem = self._take(job, json.loads(line)) or problem
            code = await process.wait()
        finally:
            self._kill(job.id)
            await process.wait()
            self._processes.pop(job.id, None)
        words = await tail
        if job.result is not None:
            job.finish(job.result)
        elif self._is_to_end(job):
            job.cancel()
        else:
            job.fail(problem or Problem(f"the job's process {describe_exit(code, words)}"))
        logger.info("%s (%s %s): %s", job.id, job.kind, job.model, job.problem or job.state)

    @staticmethod
    def _take(job: Job, message: dict[str, Any]) -> Problem | None:
        """Take a message of the job's process; return the problem that it tells, if it does."""
        match message:
            case {"event": "progress", "stage": str(stage), "done": int(done), "total": int(total)}:
                job.report(stage, done, total)
            case {"event": "done", "result": dict(result)}:
                job.result = result
            case {"event": "error", "message": str(text)}:
                if message.get("log", text) != text:
                    logger.warning("%s: %s", job.id, message["log"])
                return Problem(text, message.get("code", JOB_FAILED))
        return None

    def _is_to_end(self, job: Job) -> bool:
        return job.id in self._cancelled or job.id in self._abandoned

    def _ask_to_end(self, job_id: str) -> None:
        process = self._processes.get(job_id)
        if process is not None and process.returncode is None:
            keeps = job_id not in self._cancelled
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM if keeps else signal.SIGINT)

    def _kill(self, job_id: str) -> None:
        process = self._processes.get(job_id)
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _forget_old(self) -> None:
        ended = [job.id for job in self._jobs.values() if not job.is_running]
        for job_id in ended[: max(0, len(ended) - JOBS_KEPT)]:
            del self._jobs[job_id]
            self._cancelled.discard(job_id)
            self._abandoned.discard(job_id)


async def _last_words(pipe: asyncio.StreamReader) -> str:
    kept = b""
    while chunk := await pipe.read(1 << 16):
        kept = (kept + chunk)[-4096:]
    return kept.decode(errors="replace")
