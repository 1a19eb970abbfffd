"""The service that evaluates a model's files and keeps the result: JSON, a picture, the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from models.demo import DEMO_DIR
from models.errors import ConfigError
from models.reference import ModelRef
from models.store.atomic_write import write_atomically
from models.store.manifest import Manifest, with_quality
from models.store.store import ModelStore
from quantize.control import JobControl
from quantize.evaluate.drawing import drawing
from quantize.evaluate.files import Evaluation, Subject, evaluate
from quantize.evaluate.report import Report
from quantize.evaluate.windows import PLAIN_KV

DEMO_TEXT: Final = DEMO_DIR / "texts" / "held_out.txt"
"""The demo model is evaluated with this text."""


def evaluate_and_keep(
    subjects: Sequence[Subject],
    baseline: Subject | None,
    evaluation: Evaluation,
    *,
    store: ModelStore,
    out: Path,
    control: JobControl | None = None,
) -> Report:
    """Evaluate files of one model; write the report to `out` (JSON), and a picture beside it (.svg). Blocks.

    The store keeps the figures of its own files in their manifests, but not those with other KV types. Counts
    "windows". Raises what `evaluate` raises, and DiskFull.
    """
    is_plain = evaluation.kv_types == PLAIN_KV
    others = [
        subject for subject in subjects if not (baseline and is_plain and subject.path == baseline.path)
    ]
    report = evaluate(others, baseline, evaluation, control)
    document = msgspec.json.encode(report.document())
    write_atomically(out, msgspec.json.format(document, indent=1))
    write_atomically(out.with_suffix(".svg"), drawing(report).encode())
    for file in report.files if is_plain else ():
        store.add_quality(Path(file.path), file.quality(report))
    return report


def report_path(subjects: Sequence[Subject]) -> Path:
    """Return where a report goes that isn't wanted elsewhere: beside the first file. Raises ConfigError."""
    if not subjects:
        raise ConfigError("there is nothing to evaluate; every file was here already: corral evaluate REF")
    return subjects[0].path.with_name(f"{subjects[0].path.stem}.evaluation.json")


def text_path(ref: ModelRef, text: Path | None) -> Path:
    """Return the text of the caller's, or else the demo's own. Raises ConfigError: there is none."""
    if text is not None:
        return text
    if ref.kind == "demo" or (ref.path is not None and ref.path.name.startswith("demo.")):
        return DEMO_TEXT
    raise ConfigError(
        "no text to evaluate with; give one with --text, such as the test split of wikitext-2 (figures "
        "compare on the same text only)"
    )


def find_baseline(
    ref: ModelRef, subjects: Sequence[Subject], ensure: Callable[[ModelRef], Subject]
) -> Subject | None:
    """Return the 16-bit file among the subjects, or else the reference's F16, by `ensure`.

    None for a lone GGUF file: there is nothing to compare it with. Raises what `ensure` raises.
    """
    for subject in subjects:
        if any(f".{type_}." in subject.path.name for type_ in ("F16", "BF16", "F32")):
            return subject
    if ref.path is not None and ref.path.is_file():
        return None
    return ensure(ref.with_type("F16"))


def with_figures(manifest: Manifest, report: Report) -> Manifest:
    """Return the manifest of files in a folder with the figures that were measured of each."""
    for measured in report.files:
        for file in manifest.files:
            if Path(measured.path).name in {Path(name).name for name in file.names}:
                manifest = with_quality(manifest, file.type, measured.quality(report))
    return manifest
