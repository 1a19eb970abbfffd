"""The report of an evaluation: each file's figures, and in words which one to use here. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from quantize.evaluate.divergence import Divergence, Perplexity
from quantize.evaluate.speed import Speed

NEARLY_NOTHING: Final = 0.01
"""A loss below this mean KL divergence, in nats, can't be noticed."""

LITTLE: Final = 0.05
"""Answers are sometimes worded otherwise at a loss below this mean KL divergence, in nats."""


_SAME_SIZE: Final = 0.001
"""Sizes that differ by a smaller part are the same."""

Rounding = Literal["plain", "imatrix", "calibrated"]
"""The way in which weights were rounded: with no importance, each column's own, or all columns' moments."""


@dataclass(frozen=True)
class FileReport:
    """The figures of one file. `memory_bytes`: its need with `memory_ctx` tokens of context.

    `divergence`: None for the baseline, and without one; `speed`: None if it wasn't measured.
    `rounding`: None for a file in which nothing is rounded; `calibrated_on`: a calibrated file's text.
    """

    label: str
    path: str
    type: str | None
    size_bytes: int
    bits_per_weight: float
    perplexity: Perplexity
    divergence: Divergence | None
    speed: Speed | None
    memory_bytes: int | None
    memory_ctx: int
    is_baseline: bool = False
    type_k: str = "f16"
    type_v: str = "f16"
    rounding: Rounding | None = None
    calibrated_on: str | None = None

    @property
    def title(self) -> str:
        """The label, with a word for a calibrated file."""
        return f"{self.label}, calibrated" if self.is_calibrated else self.label

    @property
    def is_calibrated(self) -> bool:
        return self.rounding == "calibrated"

    def quality(self, report: Report) -> dict[str, Any]:
        """Return the losses for the file's own record: flat, with the text they were measured on."""
        figures: dict[str, Any] = {
            "text": report.text,
            "n_ctx": report.n_ctx,
            "n_chunks": report.n_chunks,
            "perplexity": self.perplexity.perplexity.value,
            "perplexity_error": self.perplexity.perplexity.error,
        }
        if self.divergence is not None:
            figures |= {
                "kl_divergence": self.divergence.mean.value,
                "kl_divergence_error": self.divergence.mean.error,
                "kl_divergence_p99": self.divergence.p99,
                "kl_divergence_max": self.divergence.maximum,
                "same_top_token": self.divergence.same_top.value,
            }
        return figures


@dataclass(frozen=True)
class Report:
    """The figures of several files of one model. `text`: the text's name; `machine`: this one in words."""

    files: tuple[FileReport, ...]
    text: str
    n_ctx: int
    n_chunks: int
    machine: str
    available_bytes: int

    def document(self) -> dict[str, Any]:
        """Return the report for JSON: divergences in nats, speeds in tokens per second."""
        return {
            "text": self.text,
            "n_ctx": self.n_ctx,
            "n_chunks": self.n_chunks,
            "machine": self.machine,
            "memory_available_bytes": self.available_bytes,
            "files": [asdict(file) for file in self.files],
            "advice": self.advice(),
        }

    def advice(self) -> str:
        """Return which file to use here, and why."""
        compared = [file for file in self.files if file.divergence is not None]
        if not compared:
            return "There is nothing to compare with: give a 16-bit baseline to learn what was lost."
        fitting = [file for file in compared if self._fits(file)]
        if not fitting:
            least = min(compared, key=lambda file: file.size_bytes)
            return (
                f"None of these fits the memory that is free here; the smallest is {least.label}. "
                "Make a smaller one (corral quantize --fit), or use less context."
            )
        best = self._best(fitting)
        name = f"{best.title}," if best.is_calibrated else best.label
        return f"Use {name} here: {self._why(best)}{self._others(best, fitting)}{self._gains(compared)}"

    def _fits(self, file: FileReport) -> bool:
        return file.memory_bytes is None or file.memory_bytes <= self.available_bytes

    def _best(self, fitting: Sequence[FileReport]) -> FileReport:
        """Return the quickest of those that lose next to nothing, or else little; else the one that loses
        least.
        """
        for most in (NEARLY_NOTHING, LITTLE):
            good = [file for file in _better_of_a_type(fitting) if _loss(file) <= most]
            if good:
                return max(good, key=lambda file: (_decode(file), -file.size_bytes))
        return min(fitting, key=_loss)

    def _why(self, best: FileReport) -> str:
        divergence = best.divergence
        assert divergence is not None
        words = "nearly nothing" if _loss(best) <= NEARLY_NOTHING else "little"
        if _loss(best) > LITTLE:
            words = "least of those that fit, and yet much"
        speed = f", and decodes {best.speed.decode:.0f} tokens per second" if best.speed else ""
        return (
            f"it loses {words} (KL divergence {_loss(best):.4f} nats, the same likeliest token in "
            f"{100 * divergence.same_top.value:.1f} % of places){speed}."
        )

    def _others(self, best: FileReport, fitting: Sequence[FileReport]) -> str:
        larger = [file for file in fitting if _loss(file) < _loss(best)]
        if not larger:
            return ""
        finest = min(larger, key=_loss)
        more = 100 * (finest.size_bytes / best.size_bytes - 1)
        return f" {finest.title} loses less ({_loss(finest):.4f}) and is {more:.0f} % larger."

    def _gains(self, compared: Sequence[FileReport]) -> str:
        """Return what calibration brought, for each type that is there calibrated and not."""
        pairs = [
            (file, other)
            for file in compared
            for other in compared
            if file.type == other.type
            and file.is_calibrated
            and other.rounding in ("plain", "imatrix")
            and _loss(other) > 0
        ]
        return "".join(
            f" {file.label} is calibrated and loses {_loss(file):.4f}, where {other.label} loses "
            f"{_loss(other):.4f} ({100 * (_loss(file) / _loss(other) - 1):+.0f} %)."
            for file, other in pairs
        )


def _better_of_a_type(files: Sequence[FileReport]) -> list[FileReport]:
    """Return the files but for those beside which one of the same type and size loses less."""
    return [
        file
        for file in files
        if not any(
            other.type == file.type
            and other.type is not None
            and abs(other.size_bytes / file.size_bytes - 1) < _SAME_SIZE
            and _loss(other) < _loss(file)
            for other in files
        )
    ]


def _loss(file: FileReport) -> float:
    assert file.divergence is not None
    return file.divergence.mean.value


def _decode(file: FileReport) -> float:
    return file.speed.decode if file.speed else 0.0
