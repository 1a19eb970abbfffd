"""A result of `corral tune` as people and programs read it; `corral show` prints it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from server.cli.console import duration, out, plain_table, print_table
from server.tuning.busy import BUSY_CORES
from server.tuning.result_store import Result
from server.tuning.settings import FIELDS, Settings, differences, value_of, value_text, words
from server.tuning.workload import Workload, percent

if TYPE_CHECKING:
    from server.tuning.tuner import Outcome, Trial


def workload_text(workload: Workload) -> str:
    """Return `64 tokens in, 96 out, 1 and 8 at a time; speed beside a busy process counts 25 %`."""
    streams = " and ".join(map(str, workload.streams))
    return (
        f"{workload.prompt_tokens} tokens in, {workload.output_tokens} out, {streams} at a time;"
        f" speed beside a busy process counts {100 * workload.contention:.0f} %"
    )


def result_document(result: Result, outcome: Outcome | None = None) -> dict[str, Any]:
    """Return the result with its gains in percent, and every candidate where `outcome` still has them."""
    document: dict[str, Any] = msgspec.to_builtins(result)
    for name in ("gain", "gain_margin", "noise", "kv_quant_gain"):
        value = document.pop(name)
        document[f"{name}_percent"] = None if value is None else round(percent(value), 2)
    if outcome is not None:
        document["interrupted"] = outcome.interrupted
        document["tried"] = [_trial(trial, result.defaults) for trial in outcome.trials]
    return document


def _trial(trial: Trial, defaults: Settings) -> dict[str, Any]:
    return {
        "changes": differences(trial.settings, defaults),
        "gain_percent": None if trial.gain is None else round(percent(trial.gain), 2),
        "rounds": trial.rounds,
        "verdict": trial.verdict.value,
        "problem": trial.problem,
    }


def print_result(result: Result, outcome: Outcome | None = None) -> None:
    """Print the result on stdout, with the candidates that failed where `outcome` still has them."""
    console = out()
    console.print(
        f"{result.model} on {result.machine.cpu}, {result.machine.cores} cores: {result.n_tried} candidates"
        f" in {duration(result.elapsed_s)}, {result.created[:10]}"
    )
    console.print(f"workload: {workload_text(result.workload)}")
    console.print(gain_line(result), style="bold", markup=False)
    if result.others_cores > BUSY_CORES:
        console.print(f"measured while other processes used {result.others_cores:.1f} cores")
    if result.figures:
        _print_figures(result)
    if result.kv_quant_gain is not None:
        console.print(
            f"a q8_0 KV cache: {percent(result.kv_quant_gain):+.1f} %, not taken (--allow-kv-quant)"
        )
    for trial in outcome.trials if outcome else ():
        if trial.problem:
            changes = words(differences(trial.settings, result.defaults))
            console.print(f"failed: {changes}: {trial.problem}", markup=False)
    console.print("settings: " + "  ".join(f"{n} {value_text(value_of(result.settings, n))}" for n in FIELDS))


def gain_line(result: Result) -> str:
    """Return `n_ubatch 256, flash_attn off: +7.2 % ± 1.1`, or that the defaults are best."""
    if result.settings == result.defaults:
        return f"the defaults are best, as far as a noise of {percent(result.noise):.1f} % lets see"
    text = settings_gain(result.settings, result.defaults, result.gain)
    if not result.confirmed:
        return f"{text}, not checked against the defaults at the end"
    return f"{text} ± {percent(result.gain_margin):.1f}"


def settings_gain(settings: Settings, defaults: Settings, gain: float) -> str:
    """Return `n_ubatch 256, flash_attn off: +7.2 %`."""
    return f"{words(differences(settings, defaults))}: {percent(gain):+.1f} %"


def summary(result: Result) -> list[str]:
    """Return the lines of `corral show`: the day and the workload of the search, and its gain."""
    return [
        f"tuned here on {result.created[:10]} for {workload_text(result.workload)}",
        gain_line(result),
        *(
            f"{figure.default_tokens_per_s:.1f} → {figure.best_tokens_per_s:.1f} tok/s with {figure.streams}"
            f" at a time{', beside a busy process' if figure.busy else ''}"
            for figure in result.figures
            if result.settings != result.defaults
        ),
    ]


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
