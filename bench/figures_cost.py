"""The CPU time that the figures for `/metrics` cost with each streamed chunk: `python -m bench.figures_cost`.

The server and its load are those of `bench.stream_path`. Within one process, steps are handed on with
figures and without, twenty-five at a time in turn, and the CPU time of each is measured: so neither other
programs nor what differs between two processes can look like a cost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench import stream_path
from bench.sigterm import ends_by_sigterm

BLOCK = 25
"""So many steps are handed on with figures, then as many without."""
N_ROUNDS = 6
N_STEPS = 1500


class Times:
    """The microseconds of each step's chunks, with figures and without."""

    def __init__(self) -> None:
        self.with_figures: list[float] = []
        self.without: list[float] = []

    def report(self) -> str:
        """Return medians, and lower quartiles, which a busy machine changes less."""
        lines = []
        for name, at in (("lower quartile", 0), ("median", 1)):
            on, off = (statistics.quantiles(each, n=4)[at] for each in (self.with_figures, self.without))
            lines.append(f"{name:15} {on:6.2f} µs/chunk, {off:6.2f} without figures: {on - off:+.2f}")
        return "\n".join(lines)


def switch_figures(times: Times) -> None:
    """Let every dispatcher measure its steps, and take the figures from its streams in every second block."""
    from server.engine.events import Delta, Event
    from server.metrics.request_meter import RequestMeter
    from server.supervisor.process.dispatcher import Dispatcher

    hand_on = Dispatcher._on_events  # noqa: SLF001
    meters: dict[str, RequestMeter | None] = {}
    n_steps = 0

    def measured(self: Dispatcher, events: Sequence[Event]) -> None:
        nonlocal n_steps
        if len(events) < stream_path.N_STREAMS or not isinstance(events[0], Delta):
            hand_on(self, events)
            return
        block, at = divmod(n_steps, BLOCK)
        n_steps += 1
        if at == 0:
            for id_, stream in self._streams.items():
                meters.setdefault(id_, stream._meter)  # noqa: SLF001
                stream._meter = None if block % 2 else meters[id_]  # noqa: SLF001
        begun = time.thread_time_ns()
        hand_on(self, events)
        took = time.thread_time_ns() - begun
        if at > 1:
            (times.without if block % 2 else times.with_figures).append(took / len(events) / 1e3)

    Dispatcher._on_events = measured  # type: ignore[method-assign]  # noqa: SLF001


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options: Any = parser.parse_args(arguments)
    if options.serve:
        times = Times()
        switch_figures(times)
        stream_path.serve(stream_path.AS_IT_IS, {"/times": lambda: {"report": times.report()}})
        return 0
    ends_by_sigterm()
    command = [sys.executable, "-P", "-m", "bench.figures_cost", "--serve"]
    environment = {**os.environ, "PYTHONPATH": str(stream_path.HERE)}
    with subprocess.Popen(command, env=environment, cwd=stream_path.HERE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            rounds = [asyncio.run(stream_path.stream_round(port, N_STEPS)) for _ in range(N_ROUNDS)]
            print(asyncio.run(stream_path.get_json(port, "/times"))["report"])
            print(f"the API process took {statistics.median(rounds):.2f} µs/chunk in all")
        finally:
            process.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
