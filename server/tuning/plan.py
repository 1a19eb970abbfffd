"""The part of the workload in one measurement: enough to time well, little enough for many. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.tuning.messages import Figures, MeasureRequest
from server.tuning.workload import Load, Workload

PREFILL_S = 0.2
DECODE_S = 0.15
"""The prompts and the steps of one measurement take these seconds, with the defaults on a quiet machine."""
BUSY_S = 0.4
"""Beside a busy process both end after this many seconds, or twice their time alone if that is more."""
PROMPT_TOKENS_MIN = 8
STEPS_MIN = 4
"""A measurement has prompts of at least this many tokens, and this many steps."""
LIMIT = 10
"""A measurement is cut short after this many times its expected time."""
REPEATS_MAX = 20
"""A measurement repeats its prompts and steps at most this often."""
FIRST_TOKENS, FIRST_STEPS = 16, 3
"""The first measurement has prompts of this many tokens, and this many steps."""


def first_request(streams: int, workload: Workload) -> MeasureRequest:
    """Return a short measurement, from which the speed of this model here is learnt."""
    return MeasureRequest(
        streams=streams,
        prompt_tokens=min(FIRST_TOKENS, workload.prompt_tokens),
        steps=min(FIRST_STEPS, workload.output_tokens),
        limit_s=60.0,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The measurement for each number of streams; the same for every candidate, so that they compare."""

    workload: Workload
    requests: Mapping[int, MeasureRequest]
    busy_requests: Mapping[int, MeasureRequest]

    def request(self, load: Load) -> MeasureRequest:
        """Return the measurement for a load."""
        return (self.busy_requests if load.busy else self.requests)[load.streams]

    def seconds(self, load: Load, figures: Figures) -> float:
        """Return the seconds that all of `load` takes by these figures."""
        prompt_s = figures.prefill_s / figures.prefill_tokens * self.workload.prompt_tokens * load.streams
        return prompt_s + figures.step_s * self.workload.output_tokens


def make_plan(workload: Workload, first: Mapping[int, Figures]) -> Plan:
    """Return the plan, from the figures of `first_request` for each number of streams."""
    quiet = {streams: _request(streams, workload, figures) for streams, figures in first.items()}
    busy = {streams: _request(streams, workload, figures, busy=True) for streams, figures in first.items()}
    return Plan(workload, quiet, busy)


def _request(streams: int, workload: Workload, first: Figures, *, busy: bool = False) -> MeasureRequest:
    token_s = first.prefill_s / first.prefill_tokens
    fitting = int(PREFILL_S / token_s / streams)
    prompt_tokens = min(workload.prompt_tokens, max(PROMPT_TOKENS_MIN, fitting))
    steps = min(workload.output_tokens, max(STEPS_MIN, int(DECODE_S / first.step_s)))
    once_s = prompt_tokens * streams * token_s + steps * first.step_s
    return MeasureRequest(
        streams=streams,
        prompt_tokens=prompt_tokens,
        steps=steps,
        repeats=min(REPEATS_MAX, max(1, round(DECODE_S / once_s))),
        limit_s=max(BUSY_S, 2 * once_s) if busy else LIMIT * max(DECODE_S, once_s),
    )
