"""Calibrated files beside plain ones with the same importance, of the same types and sizes.

    python -m bench.calibration MODEL.gguf MODEL.moments.gguf [--types Q4_K_M …] [--target-size 120MB]
                                [--trial-text FILE] [--probes N] [--text NAME=FILE …]
                                [--windows 12] [--work FOLDER] [--json FILE]

MODEL is a 16-bit GGUF, and the moments are its own (`corral moments`); their diagonal is the importance
matrix of the plain files. All are measured beside MODEL on each text: those of `bench.foreign_texts`, and the
text that is held out, unless others are given. With --target-size, types are chosen, too, with calibration
and without, by trials on a text of their own: Corral's calibration text, or --trial-text.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench.foreign_texts import write_texts
from models.errors import CorralError
from quantize.calibration.texts import default_text, held_out_text
from quantize.evaluate.measure import Quality, measure
from quantize.evaluate.windows import TextPlan, read_text
from quantize.imatrix.file import write_imatrix
from quantize.moments.file import read_moments

TYPES: Final = ("Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
CHOSEN: Final = "chosen"
"""The name of a file whose types were chosen for its size."""
LARGEST_DIFFERENCE: Final = 0.001
"""The part by which a calibrated file may be smaller or larger than the plain one."""


@dataclass(frozen=True)
class Pair:
    """Two files of the same types: rounded plainly by importance, and calibrated."""

    type: str
    plain: Path
    calibrated: Path

    def check(self) -> None:
        """Raises ValueError: their sizes differ too much to be compared."""
        sizes = [path.stat().st_size for path in (self.plain, self.calibrated)]
        if abs(sizes[1] / sizes[0] - 1.0) > LARGEST_DIFFERENCE:
            raise ValueError(f"{self.type}: {sizes[0]:,} bytes plain and {sizes[1]:,} calibrated")


@dataclass(frozen=True)
class Choice:
    """A choice of types: for files of at most `target_size`, by so many trials on the text in a file."""

    target_size: str
    text: Path
    probes: int | None

    def options(self) -> list[str]:
        """Return the options of `corral quantize`."""
        probes = [] if self.probes is None else ["--probes", str(self.probes)]
        return ["--target-size", self.target_size, "--text", str(self.text), *probes]


@dataclass(frozen=True)
class Row:
    """One file's quality by one text; KL in nats."""

    text: str
    type: str
    rounding: str
    n_bytes: int
    kl: float
    kl_error: float
    p99: float
    same_top: float
    perplexity: float
    base_perplexity: float


@dataclass(frozen=True)
class Results:
    """All rows, and the seconds that each pass over the weights took."""

    rows: tuple[Row, ...]
    seconds: Mapping[str, float]


def make_pairs(
    model: Path, moments: Path, types: Sequence[str], choice: Choice | None, work: Path
) -> tuple[list[Pair], dict[str, float]]:
    """Return the files of each type, made by `corral quantize` if need be, and each pass's seconds."""
    imatrix = work / "imatrix.gguf"
    if not imatrix.exists():
        with read_moments(moments) as file:
            write_imatrix(file.importance(), imatrix)
    roundings = {"plain": ["--imatrix", str(imatrix)], "calibrated": ["--calibrate", str(moments)]}
    asked = {"types": [part for type_ in types for part in ("--type", type_)]} if types else {}
    if choice is not None:
        asked[CHOSEN] = choice.options()
    seconds = {}
    for what, options in asked.items():
        for rounding, by in roundings.items():
            folder = work / f"{what}-{rounding}"
            if not folder.exists():
                started = time.monotonic()
                corral("quantize", str(model), *options, *by, "--out", str(folder))
                seconds[f"{what}, {rounding}"] = time.monotonic() - started
    pairs = [
        Pair(type_, *(_file(work / f"types-{one}", f".{type_}.gguf") for one in roundings)) for type_ in types
    ]
    if choice is not None:
        pairs.append(Pair(CHOSEN, *(_file(work / f"{CHOSEN}-{one}", ".gguf") for one in roundings)))
    return pairs, seconds


def corral(*arguments: str) -> None:
    """Run the command line. Raises CalledProcessError."""
    subprocess.run([str(Path(sys.executable).with_name("corral")), *arguments], check=True, stdout=sys.stderr)


def _file(folder: Path, ending: str) -> Path:
    found = [path for path in folder.iterdir() if path.name.endswith(ending)]
    if len(found) != 1:
        raise ValueError(f"{folder} has {len(found)} files that end in {ending}")
    return found[0]


def compare(
    model: Path, pairs: Sequence[Pair], texts: Mapping[str, str], windows: int, threads: int
) -> list[Row]:
    """Measure all files by each text. Raises CorralError: too little text."""
    rows = []
    for name, text in texts.items():
        paths = [path for pair in pairs for path in (pair.plain, pair.calibrated)]
        base, *qualities = measure(paths, model, TextPlan(text, n_chunks=windows), threads=threads)
        for number, quality in enumerate(qualities):
            rounding = "calibrated" if number % 2 else "plain"
            rows.append(_row(name, pairs[number // 2].type, rounding, quality, base))
            print(
                f"{name}: {quality.path.parent.name}/{quality.path.name}: {rows[-1].kl:.5f}", file=sys.stderr
            )
    return rows


def _row(text: str, type_: str, rounding: str, quality: Quality, base: Quality) -> Row:
    divergence = quality.divergence
    assert divergence is not None, "only the baseline has none"
    return Row(
        text,
        type_,
        rounding,
        quality.path.stat().st_size,
        divergence.mean.value,
        divergence.mean.error,
        divergence.p99,
        divergence.same_top.value,
        quality.perplexity.perplexity.value,
        base.perplexity.perplexity.value,
    )


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table: a line for each text and type, plain and calibrated beside each other."""
    lines = [
        "| text | type | MB | KL plain | calibrated | ratio | p99 | same top, % | perplexity (16 bits) |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    by_place = {(row.text, row.type, row.rounding): row for row in rows}
    for (text, type_, rounding), plain in by_place.items():
        if rounding != "plain":
            continue
        made = by_place[text, type_, "calibrated"]
        lines.append(
            f"| {text} | {type_} | {made.n_bytes / 1e6:.1f} | {plain.kl:.5f} | {made.kl:.5f} "
            f"| {made.kl / plain.kl:.2f} | {plain.p99:.3f} → {made.p99:.3f} "
            f"| {plain.same_top:.1%} → {made.same_top:.1%} ".replace("%", "")
            + f"| {plain.perplexity:.3f} → {made.perplexity:.3f} ({made.base_perplexity:.3f}) |"
        )
    return "\n".join(lines)


def _choice(target_size: str | None, text: Path | None, probes: int | None, work: Path) -> Choice | None:
    """Return the choice that is asked for; Corral's calibration text is written to `work` for it."""
    if target_size is None:
        return None
    if text is None:
        text = work / "trials.txt"
        text.write_text(default_text(), "utf-8")
    return Choice(target_size, text, probes)


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("moments", type=Path)
    parser.add_argument("--types", nargs="*", default=list(TYPES))
    parser.add_argument("--target-size", help="choose types for files of at most that size, too")
    parser.add_argument("--trial-text", type=Path, help="choose types by this text; not set: Corral's own")
    parser.add_argument("--probes", type=int, help="as corral quantize has it")
    parser.add_argument("--text", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("bench-results") / "calibration")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        texts = {
            name: read_text(Path(file).read_bytes())
            for name, _, file in (t.partition("=") for t in options.text)
        }
        if not texts:
            foreign = write_texts(options.work / "texts")
            texts = {name: path.read_text("utf-8") for name, path in foreign.items()} | {
                "held out": held_out_text()
            }
        choice = _choice(options.target_size, options.trial_text, options.probes, options.work)
        pairs, seconds = make_pairs(options.model, options.moments, options.types, choice, options.work)
        for pair in pairs:
            pair.check()
        rows = compare(options.model, pairs, texts, options.windows, options.threads)
    except (CorralError, OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode(Results(tuple(rows), seconds)))
    print(table(rows))
    for what, taken in seconds.items():
        print(f"{what}: {taken:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
