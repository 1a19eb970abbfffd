"""The output of `corral tune` before its result: the space, and the search as it goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from server.cli.console import duration, err, out, plain_table, print_table, say
from server.cli.tune.report import workload_text
from server.tuning.service import Search
from server.tuning.settings import Settings, differences, value_of, value_text, words
from server.tuning.space import Space
from server.tuning.tuner import Step
from server.tuning.workload import percent

OnStep = Callable[[Step], None]
"""A function that is called at each step of the search."""


def space_document(search: Search) -> dict[str, Any]:
    """Return the document of `--dry-run --json`."""
    return {
        "model": search.model,
        "path": str(search.path),
        "machine": msgspec.to_builtins(search.machine),
        "workload": msgspec.to_builtins(search.workload),
        "side_by_side": search.room_for_two,
        "combinations": search.space.size,
        "dimensions": {dimension.name: list(dimension.values) for dimension in search.space.dimensions},
        "defaults": msgspec.to_builtins(search.space.defaults),
        "notes": list(search.space.notes),
    }


def print_space(search: Search) -> None:
    """Print the machine, the workload and the values to try."""
    machine, space = search.machine, search.space
    console = out()
    console.print(
        f"{search.model} on {machine.cpu}, {machine.cores} cores ({machine.threads} threads),"
        f" llama-cpp-python {machine.llama_cpp}"
    )
    console.print(f"workload: {workload_text(search.workload)}")
    table = plain_table("setting", "values", "default")
    for dimension in space.dimensions:
        values = "  ".join(value_text(value) for value in dimension.values)
        table.add_row(dimension.name, values, value_text(value_of(space.defaults, dimension.name)))
    print_table(table)
    console.print(f"{space.size:,} combinations, of which the search tries what its time allows")
    for note in space.notes:
        console.print(f"- {note}")
    if not search.room_for_two:
        console.print("- candidates take turns: two of this model don't fit side by side")


@contextmanager
def search_progress(space: Space, budget_s: float) -> Iterator[OnStep]:
    """Show the search while the block runs: a bar on a terminal, elsewhere a line per candidate."""
    if not sys.stderr.isatty():
        yield _Lines(space)
        return
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=20), TextColumn("{task.fields[left]}"), TextColumn("{task.description}"))
    with Progress(*columns, console=err()) as progress:
        task = progress.add_task("loading", total=budget_s, left="")

        def update(step: Step) -> None:
            left = f"{duration(max(0.0, budget_s - step.elapsed_s))} left"
            progress.update(
                task,
                completed=min(step.elapsed_s, budget_s),
                description=escape(line(step, space)),
                left=left,
            )

        yield update


class _Lines:
    def __init__(self, space: Space) -> None:
        self._space = space
        self._last: tuple[str, Settings] | None = None

    def __call__(self, step: Step) -> None:
        if self._last != (step.phase, step.trying):
            self._last = (step.phase, step.trying)
            say(f"{step.elapsed_s:5.0f} s  {line(step, self._space)}")


def line(step: Step, space: Space) -> str:
    """Return `best +7.2 % (spin_count 1000); trying flash_attn off`."""
    best = differences(step.best, space.defaults)
    text = f"best {percent(step.gain):+.1f} % ({words(best)}); " if best else ""
    if step.phase == "noise":
        return "the defaults against themselves, for the noise"
    if step.phase == "confirm":
        return f"{text}once more against the defaults"
    return f"{text}trying {words(differences(step.trying, step.best))}"
