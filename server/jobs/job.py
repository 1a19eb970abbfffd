"""`Job`: one job's state and events, for anybody who follows it from any event on."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

JobState = Literal["running", "done", "failed", "cancelled"]
EVENTS_KEPT = 1_000
"""A job keeps so many of its latest events; who comes later gets those."""

JOB_FAILED = "job_failed"
"""The code of a job's failure that has none of its own."""


@dataclass(frozen=True)
class Problem:
    """The reason why a job failed, as clients are told it."""

    message: str
    code: str = JOB_FAILED


class Job:
    """Belongs to the event loop. An event is an object with its number under `seq`, from 1."""

    def __init__(self, kind: str, model: str, types: tuple[str, ...]) -> None:
        self.id = f"job-{secrets.token_hex(8)}"
        self.kind, self.model, self.types = kind, model, types
        self.state: JobState = "running"
        self.created = time.time()
        self.ended: float | None = None
        self.result: dict[str, Any] | None = None
        self.problem: str | None = None
        self._progress: dict[str, Any] = {}
        self._events: deque[tuple[int, str, dict[str, Any]]] = deque(maxlen=EVENTS_KEPT)
        self._n_events = 0
        self._news = asyncio.Event()

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    def document(self) -> dict[str, Any]:
        """Return the job as `/admin/jobs` tells it."""
        return {
            "id": self.id,
            "object": "job",
            "kind": self.kind,
            "model": self.model,
            "types": list(self.types),
            "state": self.state,
            "created": round(self.created, 3),
            "ended": None if self.ended is None else round(self.ended, 3),
            **self._progress,
            "result": self.result,
            "problem": self.problem,
        }

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell how far a stage is: `done` of `total` bytes."""
        share = min(done / total, 1.0) if total > 0 else 0.0
        told = {"stage": stage, "completed": done, "total": total, "progress": round(share, 4)}
        if self.is_running and told != self._progress:
            self._progress = told
            self._add("progress", {"id": self.id, "state": self.state, **told})

    def finish(self, result: dict[str, Any]) -> None:
        """End it with what it made."""
        self.result = result
        self._end("done")
        self._add("done", self.document())

    def fail(self, problem: Problem) -> None:
        """End it without."""
        self.problem = problem.message
        self._end("failed")
        self._add("error", self._error("server_error", problem.code))

    def cancel(self) -> None:
        """End it because somebody wanted it to."""
        self.problem = "the job was cancelled"
        self._end("cancelled")
        self._add("error", self._error("cancelled", "job_cancelled"))

    async def events(self, after: int = 0) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        """Yield number, name and data of each event after the one of that number, to the last."""
        while True:
            for event in list(self._events):
                if event[0] > after:
                    after = event[0]
                    yield event
            if not self.is_running and after >= self._n_events:
                return
            if after >= self._n_events:
                await self._news.wait()

    async def events_and_silences(
        self, after: int, silence_s: float
    ) -> AsyncIterator[tuple[int, str, dict[str, Any]] | None]:
        """Yield what `events` does, and None after each `silence_s` seconds in which nothing came."""
        events = aiter(self.events(after))
        following: asyncio.Future[Any] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(events, None))
                done, _ = await asyncio.wait([following], timeout=silence_s)
                if not done:
                    yield None
                    continue
                event = following.result()
                following = None
                if event is None:
                    return
                yield event
        finally:
            if following is not None:
                following.cancel()

    def _end(self, state: JobState) -> None:
        self.state, self.ended = state, time.time()

    def _error(self, kind: str, code: str) -> dict[str, Any]:
        error = {"message": self.problem, "type": kind, "param": None, "code": code}
        return {**self.document(), "error": error}

    def _add(self, name: str, data: dict[str, Any]) -> None:
        self._n_events += 1
        self._events.append((self._n_events, name, {"seq": self._n_events, **data}))
        news, self._news = self._news, asyncio.Event()
        news.set()
