"""Interleaved rounds: every server of a load is up, and each gets the load in turn, in a rotating order."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.loads import Figures, Load, Sender
from bench.quiet import DISTURBED, CPUShare, busy_process, cpu_seconds, wait_until_quiet
from bench.servers import CORRAL, Server, running
from server.loadtest.client import Lane, LoadClient
from server.loadtest.outcome import Outcome, outcome_of
from server.loadtest.prompts import words
from server.loadtest.target import Target

WARM_UP_TOKENS = 16
SETTLE_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One server in one round. `error` is the reason if there are no figures.

    `foreign_cpu`: the share of all cores that processes used which we didn't start.
    """

    load: str
    round: int
    server: str
    figures: Figures
    foreign_cpu: float
    waited_s: float
    error: str | None = None

    @property
    def disturbed(self) -> bool:
        return self.foreign_cpu > DISTURBED


@dataclass(slots=True)
class Rounds:
    """The runs of loads: `servers` returns those that a load compares, Corral first; `model` is its name."""

    model: Callable[[Load], str]
    servers: Callable[[Load], Sequence[Server]]
    n_rounds: int
    seed: int
    logs: Path
    quiet_wait_s: float = 120.0
    pause_s: float = 0.3
    commands: dict[str, list[str]] = field(default_factory=dict)
    """The command of each server, by "load server"."""

    def run(self, load: Load) -> list[Measurement]:
        """Run all rounds of one load. Raises RuntimeError if a server doesn't start or fails its warm-up."""
        rng = random.Random(f"{self.seed} {load.name}")
        candidates = list(self.servers(load))
        measurements: list[Measurement] = []
        with ExitStack() as stack:
            senders: dict[str, Sender] = {}
            pids: dict[str, int] = {}
            for one in candidates:
                log = self.logs / f"{load.name}.{one.name.replace(' ', '')}.log"
                started = stack.enter_context(running(one, log))
                pids[one.name] = started.pid
                senders[one.name] = Sender(Target.find(started.url), self.model(load), one.extra, rng)
                self.commands[f"{load.name} {one.name}"] = list(one.arguments)
            settle_s = max(self._warm_up(load, sender) for sender in senders.values()) * SETTLE_FACTOR
            for number in range(self.n_rounds):
                waited_s, quiet = wait_until_quiet(self.quiet_wait_s)
                if not quiet:
                    say(f"round {number}: not quiet after {waited_s:.0f} s; going on")
                shift = number % len(candidates)
                for one in candidates[shift:] + candidates[:shift]:
                    sender = senders[one.name]
                    sender = Sender(sender.target, sender.model, sender.extra, rng, settle_s)
                    result = self._measure(load, number, one.name, sender, waited_s, pids[one.name])
                    say(line_of(result))
                    measurements.append(result)
                    time.sleep(self.pause_s)
        return measurements

    def _warm_up(self, load: Load, sender: Sender) -> float:
        """Generate a few tokens in every slot; return the longest time to a first token."""
        prompts = [words(30, sender.rng) for _ in range(load.room.slots)]
        outcomes = send(sender, sender.lanes(prompts, WARM_UP_TOKENS))
        error = first_error(outcomes)
        if error is not None:
            raise RuntimeError(f"{load.name}: the warm-up at {sender.target.url} failed: {error}")
        return max((one.first_token_s for one in outcomes if one.first_token_s is not None), default=0.0)

    def _measure(
        self, load: Load, number: int, server: str, sender: Sender, waited_s: float, pid: int
    ) -> Measurement:
        lanes = load.lanes(sender)
        before_s = cpu_seconds(pid)
        with busy_process() if load.busy else nullcontext():
            share = CPUShare.start()
            outcomes = send(sender, lanes)
            foreign = share.of_others()
        used_s = cpu_seconds(pid) - before_s
        error = first_error(outcomes)
        figures = {} if error else load.figures_of(outcomes)
        if figures.get("tokens") and server.startswith(CORRAL):  # a peer's one process computes, too
            figures["api_cpu_us"] = 1e6 * used_s / figures["tokens"]
        return Measurement(load.name, number, server, figures, foreign, waited_s, error)


def send(sender: Sender, lanes: Sequence[Lane]) -> list[Outcome]:
    """Run one load and read the answers."""
    return [outcome_of(capture) for capture in LoadClient(sender.target).run(lanes)]


def first_error(outcomes: Sequence[Outcome]) -> str | None:
    """Raise if a stream failed: a rate over the others means nothing."""
    errors = [one.error for one in outcomes if one.error is not None]
    return f"{len(errors)} of {len(outcomes)} streams failed; the first: {errors[0]}" if errors else None


def line_of(one: Measurement) -> str:
    """Return one measurement as a line of progress."""
    head = f"{one.load} · round {one.round} · {one.server}: "
    if one.error is not None:
        return f"{head}FAILED: {one.error}"
    figures = one.figures
    times = ", ".join(
        f"{label} {figures[key] * 1000:.1f} ms"
        for label, key in (
            ("first token", "first_token_s_p50"),
            ("gap", "gap_s_p50"),
            ("p99", "gap_s_p99"),
        )
        if key in figures
    )
    cached = figures["cached_tokens"] / figures["prompt_tokens"] if figures["prompt_tokens"] else 0.0
    drafts = ""
    if "api_cpu_us" in figures:
        times += f", API process {figures['api_cpu_us']:.0f} µs per token"
    if "draft_n" in figures:
        drafts = f", {figures['draft_n_accepted']:.0f} of {figures['draft_n']:.0f} drafted tokens accepted"
    return (
        f"{head}{figures['tokens_per_s']:.1f} tok/s out, {figures['total_tokens_per_s']:.0f} in and out, "
        f"{times}, cached {cached:.0%}{drafts}, others {one.foreign_cpu:.0%}"
    )


def say(text: str) -> None:
    """Write a line of progress to stderr; stdout is for the report."""
    print(text, file=sys.stderr, flush=True)
