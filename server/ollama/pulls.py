"""`Pulls`: a job's events as Ollama's progress, for every client that waits for the same model.

As in Ollama a pull ends when nobody waits for it any more, and the next one goes on with what it has done.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

from server.engine.events import DISK_FULL
from server.jobs.job import Job
from server.jobs.table import JobTable

Progress = dict[str, Any]
_STAGES = {"download": "pulling", "quantize": "quantizing"}
_BEGIN: Progress = {"status": "pulling manifest"}
_SUCCESS: Progress = {"status": "success"}


class Pulls:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._n_waiting: Counter[str] = Counter()
        """The clients that wait for each job that a client of Ollama's began."""

    async def progress(
        self, jobs: JobTable, model: str, types: tuple[str, ...], silence_s: float
    ) -> AsyncGenerator[Progress, None]:
        """Pull a model, and yield Ollama's objects of progress, the last of them `success` or an error.

        After `silence_s` seconds without news the latest is yielded again. Raises RequestError for too many
        jobs. A job that somebody else began goes on without us.
        """
        others = {job.id for job in jobs.list() if job.is_running and job.id not in self._n_waiting}
        job = jobs.start("pull", model, types)
        is_ours = job.id not in others
        if is_ours:
            self._n_waiting[job.id] += 1
        try:
            latest = _BEGIN
            yield latest
            async for event in job.events_and_silences(0, silence_s):
                if event is not None:
                    latest = _told(job, *event[1:])
                yield latest
        finally:
            if is_ours:
                self._leave(jobs, job)

    def _leave(self, jobs: JobTable, job: Job) -> None:
        self._n_waiting[job.id] -= 1
        if self._n_waiting[job.id] <= 0:
            del self._n_waiting[job.id]
            if job.is_running:
                jobs.abandon(job.id)


def _told(job: Job, name: str, data: dict[str, Any]) -> Progress:
    match name:
        case "done":
            return _SUCCESS
        case "error":
            error = data["error"]
            code = {"code": DISK_FULL} if error["code"] == DISK_FULL else {}
            return {"error": error["message"], **code}
    stage = data["stage"]
    return {
        "status": f"{_STAGES.get(stage, stage)} {job.model}",
        "digest": f"sha256:{hashlib.sha256(f'{job.model} {stage}'.encode()).hexdigest()}",
        "total": data["total"],
        "completed": data["completed"],
    }
