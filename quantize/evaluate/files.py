"""Evaluating files of one model: as many at once as memory takes, then each one's speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.gguf.info import read_gguf_info
from models.machine.fit import estimate, host_bytes
from models.machine.hardware import probe_cpu, usable_cores
from models.machine.host_memory import memory
from quantize.evaluate.measure import Quality, TextPlan, measure
from quantize.evaluate.report import FileReport, Report
from quantize.evaluate.speed import Speed, measure_speed


@dataclass(frozen=True)
class Subject:
    """A file to evaluate, and how it is called."""

    path: Path
    label: str


@dataclass(frozen=True)
class Evaluation:
    """What is to be found out. `text_name` for the report; `memory_ctx`: the context whose memory is told."""

    plan: TextPlan
    text_name: str
    threads: int
    memory_ctx: int = 4096
    speed: bool = True


def evaluate(
    subjects: Sequence[Subject],
    baseline: Subject | None,
    what: Evaluation,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> Report:
    """The baseline first, if there is one. Blocks. Raises what `measure` raises, and InvalidGGUF."""
    qualities: dict[Path, Quality] = {}
    groups = list(_groups(subjects, baseline))
    for number, group in enumerate(groups):

        def tell(done: int, total: int, number: int = number) -> None:
            if on_windows is not None:
                on_windows(number * total + done, len(groups) * total)

        found = measure(
            [subject.path for subject in group],
            None if baseline is None else baseline.path,
            what.plan,
            threads=what.threads,
            on_windows=tell,
        )
        qualities |= {quality.path: quality for quality in found}
    everyone = ([baseline] if baseline is not None else []) + list(subjects)
    files = tuple(
        _file_report(subject, qualities[subject.path], what, subject is baseline) for subject in everyone
    )
    n_scored = what.plan.n_ctx - 1 - what.plan.n_ctx // 2
    n_chunks = files[0].perplexity.n_tokens // n_scored
    return Report(files, what.text_name, what.plan.n_ctx, n_chunks, _machine(), memory().available_bytes)


def _machine() -> str:
    cores, _ = usable_cores()
    return f"{probe_cpu().name}, {cores} cores"


def _groups(subjects: Sequence[Subject], baseline: Subject | None) -> Iterator[list[Subject]]:
    """Files that are loaded at the same time: with the baseline, at most four fifths of the free memory."""
    room = memory().available_bytes * 4 // 5
    used = first = baseline.path.stat().st_size if baseline is not None else 0
    group: list[Subject] = []
    for subject in subjects:
        size = subject.path.stat().st_size
        if group and used + size > room:
            yield group
            group, used = [], first
        group.append(subject)
        used += size
    if group or baseline is not None:
        yield group


def _file_report(subject: Subject, quality: Quality, what: Evaluation, is_baseline: bool) -> FileReport:
    info = read_gguf_info(subject.path)
    speed: Speed | None = measure_speed(subject.path, threads=what.threads) if what.speed else None
    return FileReport(
        label=subject.label,
        path=str(subject.path),
        type=info.ftype,
        size_bytes=info.size_bytes,
        bits_per_weight=info.bits_per_weight or 0.0,
        perplexity=quality.perplexity,
        divergence=quality.divergence,
        speed=speed,
        memory_bytes=host_bytes(estimate(info, what.memory_ctx), 0),
        memory_ctx=what.memory_ctx,
        is_baseline=is_baseline,
    )
