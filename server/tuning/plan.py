"""How much of the workload one measurement takes: enough to time well, little enough for many. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.tuning.messages import Ask, Figures
from server.tuning.workload import Load, Workload

PREFILL_S = 0.2
DECODE_S = 0.15
"""What the prompts and the steps of one measurement should take with the defaults on a quiet machine."""
BUSY_S = 0.4
"""Beside a busy process both are ended after so long, or twice what they take alone."""
PROMPT_TOKENS_MIN = 8
STEPS_MIN = 4
LIMIT = 10
"""A measurement that takes so many times longer is cut short."""
REPEATS_MAX = 20
FIRST_TOKENS, FIRST_STEPS = 16, 3


def first_ask(streams: int, workload: Workload) -> Ask:
    """A short one, to learn how fast this model is here."""
    return Ask(
        streams=streams,
        prompt_tokens=min(FIRST_TOKENS, workload.prompt_tokens),
        steps=min(FIRST_STEPS, workload.output_tokens),
        limit_s=60.0,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask for each number of streams. The same for every candidate, so that they compare."""

    workload: Workload
    asks: Mapping[int, Ask]
    busy_asks: Mapping[int, Ask]

    def ask(self, load: Load) -> Ask:
        return (self.busy_asks if load.busy else self.asks)[load.streams]

    def seconds(self, load: Load, figures: Figures) -> float:
        """What all of `load` takes by these figures."""
        prompt_s = figures.prefill_s / figures.prefill_tokens * self.workload.prompt_tokens * load.streams
        return prompt_s + figures.step_s * self.workload.output_tokens


def make_plan(workload: Workload, first: Mapping[int, Figures]) -> Plan:
    """From the figures of `first_ask` for each number of streams."""
    quiet = {streams: _ask(streams, workload, figures) for streams, figures in first.items()}
    busy = {streams: _ask(streams, workload, figures, busy=True) for streams, figures in first.items()}
    return Plan(workload, quiet, busy)


def _ask(streams: int, workload: Workload, first: Figures, *, busy: bool = False) -> Ask:
    token_s = first.prefill_s / first.prefill_tokens
    fitting = int(PREFILL_S / token_s / streams)
    prompt_tokens = min(workload.prompt_tokens, max(PROMPT_TOKENS_MIN, fitting))
    steps = min(workload.output_tokens, max(STEPS_MIN, int(DECODE_S / first.step_s)))
    once_s = prompt_tokens * streams * token_s + steps * first.step_s
    return Ask(
        streams=streams,
        prompt_tokens=prompt_tokens,
        steps=steps,
        repeats=min(REPEATS_MAX, max(1, round(DECODE_S / once_s))),
        limit_s=max(BUSY_S, 2 * once_s) if busy else LIMIT * max(DECODE_S, once_s),
    )
