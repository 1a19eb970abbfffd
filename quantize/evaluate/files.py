"""The evaluation of files of one model: as many at once as memory takes, then each one's speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.gguf.info import GGUFInfo, read_gguf_info
from models.llamacpp.quantization.ggml_types import GGML_TYPES, is_quantized
from models.machine.fit import estimate, host_bytes
from models.machine.hardware import probe_cpu, usable_cores
from models.machine.host_memory import memory
from quantize.control import JobControl
from quantize.evaluate.measure import Quality, measure
from quantize.evaluate.report import FileReport, Report, Rounding
from quantize.evaluate.speed import Speed, measure_speed
from quantize.evaluate.windows import PLAIN_KV, KVTypes, TextPlan

CALIBRATION_METHOD_KEY: Final = "corral.calibration.method"
CALIBRATION_TEXT_KEY: Final = "corral.calibration.text"


@dataclass(frozen=True)
class Subject:
    """A file to evaluate, and its name in tables."""

    path: Path
    label: str


@dataclass(frozen=True)
class Evaluation:
    """The options of an evaluation. `text_name`: for the report; `memory_ctx`: memory is estimated with a
    context of this many tokens; `speed`: it is measured, too; `kv_types`: of all files but the baseline.
    """

    plan: TextPlan
    text_name: str
    threads: int
    memory_ctx: int = 4096
    speed: bool = True
    kv_types: KVTypes = PLAIN_KV


def evaluate(
    subjects: Sequence[Subject],
    baseline: Subject | None,
    evaluation: Evaluation,
    control: JobControl | None = None,
) -> Report:
    """Evaluate the baseline, if there is one, and the subjects. Blocks; counts "windows".

    Raises what `measure` raises, and InvalidGGUF.
    """
    control = control or JobControl()
    base: Quality | None = None
    qualities: list[Quality] = []
    groups = list(_groups(subjects, baseline))
    with control.counter("windows") as on_windows:
        for number, group in enumerate(groups):

            def report(done: int, total: int, number: int = number) -> None:
                on_windows(number * total + done, len(groups) * total)

            measured = measure(
                [subject.path for subject in group],
                None if baseline is None else baseline.path,
                evaluation.plan,
                threads=evaluation.threads,
                kv_types=evaluation.kv_types,
                on_windows=report,
                cancel=control.cancel,
            )
            if baseline is not None:
                base, *measured = measured
            qualities += measured
    files = tuple(
        _file_report(subject, quality, evaluation, evaluation.kv_types)
        for subject, quality in zip(subjects, qualities, strict=True)
    )
    if baseline is not None and base is not None:
        files = (_file_report(baseline, base, evaluation, PLAIN_KV, is_baseline=True), *files)
    n_scored = evaluation.plan.n_ctx - 1 - evaluation.plan.n_ctx // 2
    n_chunks = files[0].perplexity.n_tokens // n_scored
    return Report(
        files, evaluation.text_name, evaluation.plan.n_ctx, n_chunks, _machine(), memory().available_bytes
    )


def _machine() -> str:
    cores, _ = usable_cores()
    return f"{probe_cpu().name}, {cores} cores"


def _groups(subjects: Sequence[Subject], baseline: Subject | None) -> Iterator[list[Subject]]:
    """Yield files that are loaded at the same time: with the baseline, in four fifths of the free memory."""
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


def _file_report(
    subject: Subject, quality: Quality, evaluation: Evaluation, kv: KVTypes, *, is_baseline: bool = False
) -> FileReport:
    info = read_gguf_info(subject.path)
    speed: Speed | None = (
        measure_speed(subject.path, threads=evaluation.threads, kv_types=kv) if evaluation.speed else None
    )
    return FileReport(
        label=subject.label if kv == PLAIN_KV else f"{subject.label}, KV {kv}",
        path=str(subject.path),
        type=info.ftype,
        size_bytes=info.size_bytes,
        bits_per_weight=info.bits_per_weight or 0.0,
        perplexity=quality.perplexity,
        divergence=quality.divergence,
        speed=speed,
        memory_bytes=host_bytes(estimate(info, evaluation.memory_ctx, type_k=kv.k, type_v=kv.v), 0),
        memory_ctx=evaluation.memory_ctx,
        is_baseline=is_baseline,
        type_k=kv.k,
        type_v=kv.v,
        rounding=rounding_of(info),
        calibrated_on=info.text(CALIBRATION_TEXT_KEY),
    )


def rounding_of(info: GGUFInfo) -> Rounding | None:
    """Return how a file's weights were rounded, by its metadata; None where nothing is quantized."""
    if not any(is_quantized(GGML_TYPES[tensor.type]) for tensor in info.tensors):
        return None
    if info.text(CALIBRATION_METHOD_KEY) is not None:
        return "calibrated"
    return "plain" if info.text("quantize.imatrix.file") is None else "imatrix"
