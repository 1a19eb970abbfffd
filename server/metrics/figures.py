"""`FigureBook`: all that is counted of requests and workers, by model, type and arm."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from server.ipc.messages import StatsReply
from server.metrics.adapter_load import AdapterLoad
from server.metrics.histogram import (
    GAP_BOUNDS_S,
    REQUEST_BOUNDS_S,
    TOKEN_BOUNDS,
    WAIT_BOUNDS_S,
    Histogram,
)


class ModelLabels(NamedTuple):
    """One served file: its model's name and its quantization type, empty where the file doesn't say one."""

    model: str
    type: str


class ArmLabels(NamedTuple):
    """One served file, and the arm of an alias through which it was asked; empty: none."""

    model: str
    type: str
    arm: str


def _requests() -> Histogram:
    return Histogram(REQUEST_BOUNDS_S)


def _tokens() -> Histogram:
    return Histogram(TOKEN_BOUNDS)


@dataclass(slots=True)
class RequestFigures:
    """The requests that one file got through one arm: totals, and how they are spread."""

    prompt_tokens: int = 0
    """The prompts' tokens, those found in the cache included: the sum of what usage tells the clients."""
    computed_tokens: int = 0
    """The prompts' tokens that were computed."""
    cached_tokens: int = 0
    looked_up_tokens: int = 0
    """The prompts' tokens that were looked for in the prefix cache: those of texts to generate from."""
    other_tokens: int = 0
    """The generated tokens that came without a gap before them: the first of each answer, and those of which
    no event told."""
    prompt_s: float = 0.0
    generated_s: float = 0.0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    longest: int = 0
    """The most tokens, prompt and answer, that a sequence had."""
    finished: Counter[str] = field(default_factory=Counter)
    """The choices that ended well, by their finish reason; vectors and scores of a request are one `stop`."""
    failed: Counter[str] = field(default_factory=Counter)
    """The requests that didn't, by the kind of the failure."""
    resumed: int = 0
    """The times that an answer went on in another worker, as its own had died."""
    first_token_s: Histogram = field(default_factory=lambda: Histogram(WAIT_BOUNDS_S))
    between_tokens_s: Histogram = field(default_factory=lambda: Histogram(GAP_BOUNDS_S))
    queue_s: Histogram = field(default_factory=_requests)
    prefill_s: Histogram = field(default_factory=_requests)
    decode_s: Histogram = field(default_factory=_requests)
    whole_s: Histogram = field(default_factory=_requests)
    prompt_size: Histogram = field(default_factory=_tokens)
    answer_size: Histogram = field(default_factory=_tokens)

    @property
    def generated_tokens(self) -> int:
        """The generated tokens, also those of answers that go on or were cut off."""
        return self.between_tokens_s.n + self.other_tokens


@dataclass(slots=True)
class WorkerTotals:
    """The counts of a worker since it started; those of several can be added up."""

    steps: int = 0
    step_s: float = 0.0
    step_counts: list[int] = field(default_factory=list)
    """The number of steps in each bucket of `server.engine.stats.STEP_BOUNDS_S`."""
    entries: int = 0
    """The sequences of all steps together."""
    preemptions: int = 0
    drafts: int = 0
    checkpoints: int = 0
    rewinds: int = 0

    def add(self, reply: StatsReply | None) -> None:
        """Add what one worker has counted; None: nothing."""
        if reply is None:
            return
        self.steps += reply.steps_total
        self.step_s += reply.prompt_s_total + reply.generated_s_total
        n = max(len(self.step_counts), len(reply.step_counts))
        ours, theirs = (each + [0] * (n - len(each)) for each in (self.step_counts, list(reply.step_counts)))
        self.step_counts = [mine + other for mine, other in zip(ours, theirs, strict=True)]
        self.entries += reply.entries_total
        self.preemptions += reply.preemptions_total
        self.drafts += reply.drafts_total
        self.checkpoints += reply.checkpoints_total
        self.rewinds += reply.rewinds_total

    def with_reply(self, reply: StatsReply | None) -> WorkerTotals:
        """Return these totals and those of a worker that lives."""
        totals = replace(self, step_counts=list(self.step_counts))
        totals.add(reply)
        return totals


@dataclass(slots=True)
class WorkerFigures:
    """The lives of one file's workers, one after the other."""

    loads: int = 0
    unloads: int = 0
    deaths: int = 0
    past: WorkerTotals = field(default_factory=WorkerTotals)
    """The totals of those that have ended, as far as they told them."""


class FigureBook:
    """All figures. Its size is bounded: models are those that were found in the catalogue, arms settings'."""

    def __init__(self) -> None:
        self.requests: dict[ArmLabels, RequestFigures] = {}
        self.workers: dict[ModelLabels, WorkerFigures] = {}
        self.adapters = AdapterLoad()

    def of_requests(self, model: str, type_: str | None, arm: str = "") -> RequestFigures:
        """Return the figures of a file's requests through an arm."""
        labels = ArmLabels(model, type_ or "", arm)
        figures = self.requests.get(labels)
        if figures is None:
            figures = self.requests[labels] = RequestFigures()
        return figures

    def of_workers(self, model: str, type_: str | None) -> WorkerFigures:
        """Return the figures of a file's workers."""
        labels = ModelLabels(model, type_ or "")
        figures = self.workers.get(labels)
        if figures is None:
            figures = self.workers[labels] = WorkerFigures()
        return figures
