"""An evaluation for people: run with progress on stderr, shown as a table with a paragraph of advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.machine.hardware import available_cores
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.control import JobControl
from quantize.evaluate.files import Evaluation, Subject
from quantize.evaluate.report import FileReport, Report
from quantize.evaluate.service import evaluate_and_keep, find_baseline, report_path, text_path
from quantize.evaluate.windows import PLAIN_KV, KVTypes, TextPlan, read_text
from server.cli.console import plain_table, print_table, say, size
from server.cli.model_files import model_file, plain_file
from server.cli.progress import count_progress
from server.cli.reference import stored_reference


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """The options of the command line. `out`: the file that gets the JSON; None: it goes beside the first
    file.
    """

    text: Path | None
    ctx: int = 512
    chunks: int | None = None
    memory_ctx: int = 4096
    speed: bool = True
    threads: int | None = None
    out: Path | None = None
    kv_types: KVTypes = PLAIN_KV


def evaluate(
    reference: str, subjects: Sequence[Subject], baseline: str | None, options: EvaluateOptions
) -> Report:
    """Evaluate files of the model `reference`, and keep the report beside the first, or in `out`.

    Raises ConfigError: no file, no text, or no baseline to be found.
    """
    store = ModelStore(Paths.from_environment())
    ref = stored_reference(reference, store, quiet=True)
    out = options.out or report_path(subjects)
    text = text_path(ref, options.text)
    base = subject(baseline, "F16") if baseline else find_baseline(ref, subjects, _sixteen_bits)
    evaluation = Evaluation(
        TextPlan(read_text(plain_file(text)), options.ctx, options.chunks),
        text.name,
        options.threads or available_cores(),
        options.memory_ctx,
        options.speed,
        options.kv_types,
    )
    control = JobControl(counter=count_progress)
    report = evaluate_and_keep(subjects, base, evaluation, store=store, out=out, control=control)
    say(f"kept: {out} and {out.with_suffix('.svg').name}")
    return report


def subject(reference: str, default_type: str) -> Subject:
    """Return the file of `reference`, made first if it isn't here. Raises what making it raises."""
    file = model_file(reference, default_type)
    return Subject(file.path, file.label)


def _sixteen_bits(ref: ModelRef) -> Subject:
    return subject(str(ref), "F16")


def print_report(report: Report) -> None:
    """Print the table, and the paragraph below it."""
    right = (
        "SIZE",
        "BITS/W",
        "PPL",
        "KLD",
        "KLD 99 %",
        "KLD MAX",
        "SAME TOP",
        "PROMPT/S",
        "DECODE/S",
        "MEMORY",
    )
    table = plain_table("FILE", "ROUNDING", *right, right=right)
    for file in report.files:
        table.add_row(*_row(file))
    print_table(table)
    say(
        f"{report.text}: {report.n_chunks} windows of {report.n_ctx} tokens; memory at "
        f"{report.files[0].memory_ctx} tokens; {report.machine}"
    )
    say(report.advice())


def _row(file: FileReport) -> list[str]:
    perplexity, divergence, speed = file.perplexity.perplexity, file.divergence, file.speed
    losses = ["baseline" if file.is_baseline else "-", "", "", ""]
    if divergence is not None:
        losses = [
            f"{divergence.mean.value:.5f} ±{divergence.mean.error:.5f}",
            f"{divergence.p99:.4f}",
            f"{divergence.maximum:.3f}",
            f"{100 * divergence.same_top.value:.2f} %",
        ]
    return [
        file.label,
        file.rounding or "-",
        size(file.size_bytes),
        f"{file.bits_per_weight:.2f}",
        f"{perplexity.value:.4f} ±{perplexity.error:.4f}",
        *losses,
        "-" if speed is None else f"{speed.prompt:.0f}",
        "-" if speed is None else f"{speed.decode:.1f}",
        "-" if file.memory_bytes is None else size(file.memory_bytes),
    ]
