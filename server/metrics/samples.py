"""`WorkerSample`: one model as it is this moment, with what its worker has counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.ipc.messages import StatsReply
from server.metrics.figures import WorkerFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSample:
    """The state of one file's worker. `state` is a `ModelState`."""

    model: str
    type: str | None
    state: str
    running: int = 0
    """The requests that the worker has begun."""
    waiting: int = 0
    """The requests that wait for the worker, or in it for a slot."""
    takes_adapters: bool = False
    """True if the model has LoRA adapters."""
    figures: WorkerFigures = field(default_factory=WorkerFigures)
    stats: StatsReply | None = None
    """The worker's counters; an earlier answer where it gave none now, None where there is no worker."""
    answered: bool = False
    """True if the worker has answered in time."""
