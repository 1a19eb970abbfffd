"""What `corral tune` shows: the space, the search as it goes, the result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from server.cli.console import duration, err, out, plain_table, print_table, say
from server.tuning.busy import BUSY_CORES
from server.tuning.service import Search
from server.tuning.settings import FIELDS, Settings, differences, shown, value_of, words
from server.tuning.space import Space
from server.tuning.stored import Result
from server.tuning.tuner import Outcome, Step, Tried
from server.tuning.workload import Workload, percent

OnStep = Callable[[Step], None]


def space_document(search: Search) -> dict[str, Any]:
    """For `--dry-run --json`."""
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
    machine, space = search.machine, search.space
    console = out()
    console.print(
        f"{search.model} on {machine.cpu}, {machine.cores} cores ({machine.threads} threads),"
        f" llama-cpp-python {machine.llama_cpp}"
    )
    console.print(f"workload: {described(search.workload)}")
    table = plain_table("setting", "values", "default")
    for dimension in space.dimensions:
        values = "  ".join(shown(value) for value in dimension.values)
        table.add_row(dimension.name, values, shown(value_of(space.defaults, dimension.name)))
    print_table(table)
    console.print(f"{space.size:,} combinations, of which the search tries what its time allows")
    for note in space.notes:
        console.print(f"- {note}")
    if not search.room_for_two:
        console.print("- candidates take turns: two of this model don't fit side by side")


def described(workload: Workload) -> str:
    """`64 tokens in, 96 out, 1 and 8 at a time; speed beside a busy process counts 25 %`."""
    streams = " and ".join(map(str, workload.streams))
    return (
        f"{workload.prompt_tokens} tokens in, {workload.output_tokens} out, {streams} at a time;"
        f" speed beside a busy process counts {100 * workload.contention:.0f} %"
    )


@contextmanager
def search_progress(space: Space, budget_s: float) -> Iterator[OnStep]:
    """A bar with the best so far on a terminal; elsewhere a line per candidate."""
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
        self._told: tuple[str, Settings] | None = None

    def __call__(self, step: Step) -> None:
        if self._told != (step.phase, step.trying):
            self._told = (step.phase, step.trying)
            say(f"{step.elapsed_s:5.0f} s  {line(step, self._space)}")


def line(step: Step, space: Space) -> str:
    """`best +7.2 % (spin_count 1000); trying flash_attn off`."""
    best = differences(step.best, space.defaults)
    text = f"best {percent(step.gain):+.1f} % ({words(best)}); " if best else ""
    if step.phase == "noise":
        return "the defaults against themselves, for the noise"
    if step.phase == "confirm":
        return f"{text}once more against the defaults"
    return f"{text}trying {words(differences(step.trying, step.best))}"


def result_document(result: Result, outcome: Outcome | None = None) -> dict[str, Any]:
    """The result with its gains in percent, and every candidate where `outcome` still has them."""
    document: dict[str, Any] = msgspec.to_builtins(result)
    for name in ("gain", "gain_margin", "noise", "kv_quant_gain"):
        value = document.pop(name)
        document[f"{name}_percent"] = None if value is None else round(percent(value), 2)
    if outcome is not None:
        document["interrupted"] = outcome.interrupted
        document["tried"] = [_tried(one, result.defaults) for one in outcome.tried]
    return document


def _tried(tried: Tried, defaults: Settings) -> dict[str, Any]:
    return {
        "changes": differences(tried.settings, defaults),
        "gain_percent": None if tried.gain is None else round(percent(tried.gain), 2),
        "rounds": tried.rounds,
        "verdict": tried.verdict.value,
        "problem": tried.problem,
    }


def print_result(result: Result, outcome: Outcome | None = None) -> None:
    console = out()
    console.print(
        f"{result.model} on {result.machine.cpu}, {result.machine.cores} cores: {result.n_tried} candidates"
        f" in {duration(result.elapsed_s)}, {result.created[:10]}"
    )
    console.print(f"workload: {described(result.workload)}")
    changes = differences(result.settings, result.defaults)
    if changes:
        checked = "" if result.confirmed else ", not checked against the defaults at the end"
        gain = f"{percent(result.gain):+.1f} % ± {percent(result.gain_margin):.1f}"
        console.print(f"[bold]{words(changes)}[/]: {gain}{checked}")
    else:
        console.print(f"the defaults are best, as far as a noise of {percent(result.noise):.1f} % lets see")
    if result.others_cores > BUSY_CORES:
        console.print(f"measured while other processes used {result.others_cores:.1f} cores")
    if result.figures:
        _print_figures(result)
    if result.kv_quant_gain is not None:
        console.print(
            f"a q8_0 KV cache: {percent(result.kv_quant_gain):+.1f} %, not taken (--allow-kv-quant)"
        )
    for tried in outcome.tried if outcome else ():
        if tried.problem:
            changed = words(differences(tried.settings, result.defaults))
            console.print(f"failed: {changed}: {tried.problem}", markup=False)
    console.print("settings: " + "  ".join(f"{n} {shown(value_of(result.settings, n))}" for n in FIELDS))


def _print_figures(result: Result) -> None:
    table = plain_table("at a time", "beside", "defaults", "best", right=("at a time", "defaults", "best"))
    for figure in result.figures:
        table.add_row(
            str(figure.streams),
            "a busy process" if figure.busy else "nothing",
            f"{figure.default_tokens_per_s:.1f} tok/s",
            f"{figure.best_tokens_per_s:.1f} tok/s",
        )
    print_table(table)
