"""An evaluation for people and programs: run, shown as a table, written as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.demo import DEMO_DIR
from models.errors import ConfigError
from models.machine.hardware import available_cores
from models.paths import Paths
from models.reference import ModelRef
from models.store.atomic_write import write_atomically
from models.store.manifest import Manifest, with_quality
from models.store.store import ModelStore
from quantize.evaluate.drawing import drawing
from quantize.evaluate.files import Evaluation, Subject, evaluate
from quantize.evaluate.measure import TextPlan
from quantize.evaluate.report import FileReport, Report
from quantize.evaluate.windows import read_text
from server.cli.console import plain_table, print_table, say, size
from server.cli.counting import count_progress
from server.cli.model_files import model_file, plain_file

DEMO_TEXT = DEMO_DIR / "texts" / "held_out.txt"


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of the command line. `out`: where the JSON goes; None: beside the first file."""

    text: Path | None
    ctx: int = 512
    chunks: int | None = None
    memory_ctx: int = 4096
    speed: bool = True
    threads: int | None = None
    out: Path | None = None


def evaluated(reference: str, subjects: Sequence[Subject], baseline: str | None, wish: Wish) -> Report:
    """Evaluate files of the model `reference`, and write JSON and picture beside the first, or to `out`.

    The store keeps the figures of its own files in their manifest.

    Raises ConfigError: no file, no text, or no baseline to be found.
    """
    if not subjects:
        raise ConfigError("there is nothing to evaluate; every file was here already: corral evaluate REF")
    path = text_path(reference, wish.text)
    base = baseline_of(reference, baseline, subjects)
    plan = TextPlan(read_text(plain_file(path)), wish.ctx, wish.chunks)
    others = [subject for subject in subjects if base is None or subject.path != base.path]
    what = Evaluation(plan, path.name, wish.threads or available_cores(), wish.memory_ctx, wish.speed)
    with count_progress("windows") as windows:
        report = evaluate(others, base, what, on_windows=windows)
    target = wish.out or subjects[0].path.with_name(f"{subjects[0].path.stem}.evaluation.json")
    document = msgspec.json.encode(report.document())
    write_atomically(target, msgspec.json.format(document, indent=1))
    write_atomically(target.with_suffix(".svg"), drawing(report).encode())
    say(f"kept: {target} and {target.with_suffix('.svg').name}")
    store = ModelStore(Paths.from_environment())
    for file in report.files:
        store.add_quality(Path(file.path), file.quality(report))
    return report


def with_figures(manifest: Manifest, report: Report) -> Manifest:
    """The manifest of files in a folder, with what was measured of each."""
    for measured in report.files:
        for file in manifest.files:
            if Path(measured.path).name in {Path(name).name for name in file.names}:
                manifest = with_quality(manifest, file.type, measured.quality(report))
    return manifest


def text_path(reference: str, text: Path | None) -> Path:
    """The text that was asked for, or the demo's own. Raises ConfigError."""
    if text is not None:
        return text
    ref = ModelRef.parse(reference)
    if ref.kind == "demo" or (ref.path is not None and ref.path.name.startswith("demo.")):
        return DEMO_TEXT
    raise ConfigError(
        "no text to evaluate with; give one with --text, such as the test split of wikitext-2 (figures "
        "compare on the same text only)"
    )


def baseline_of(reference: str, baseline: str | None, subjects: Sequence[Subject]) -> Subject | None:
    """The 16-bit file: the one named, else the reference's F16, made if need be.

    None for a lone GGUF file, beside which there is nothing to compare with.
    """
    if baseline is not None:
        file = model_file(baseline, "F16")
        return Subject(file.path, file.label)
    for subject in subjects:
        if any(f".{type_}." in subject.path.name for type_ in ("F16", "BF16", "F32")):
            return subject
    ref = ModelRef.parse(reference)
    if ref.path is not None and ref.path.is_file():
        return None
    file = model_file(str(ref.with_type("F16")), "F16")
    return Subject(file.path, file.label)


def print_report(report: Report) -> None:
    """The table, and the paragraph below it."""
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
    table = plain_table("FILE", *right, right=right)
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
        size(file.size_bytes),
        f"{file.bits_per_weight:.2f}",
        f"{perplexity.value:.4f} ±{perplexity.error:.4f}",
        *losses,
        "-" if speed is None else f"{speed.prompt:.0f}",
        "-" if speed is None else f"{speed.decode:.1f}",
        "-" if file.memory_bytes is None else size(file.memory_bytes),
    ]
