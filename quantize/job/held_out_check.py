"""The held-out check of a pass: what lost by calibration is put right before files are published.

    pass ──▶ verdict on each file ──▶ kinds that lost: rounded plainly, again into the same files ──▶ publish

Killed meanwhile, the journal lacks all that was to be made again: the next run makes it as the first did,
and judges anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from models.errors import ConfigError, CorralError
from models.gguf.info import read_gguf_info
from models.machine.fit import ModelFile, format_bytes
from models.machine.host_memory import memory
from quantize.calibration.calibration import Calibration
from quantize.calibration.check_time import CheckWindows
from quantize.calibration.held_out import CHECK_CHUNKS, HeldOutModel, HeldOutText, count_windows
from quantize.calibration.rounding import QuantizeRows
from quantize.calibration.verdict import Verdict
from quantize.control import JobControl
from quantize.evaluate.windows import N_BATCH
from quantize.plan.plan import PlannedFile, QuantizationPlan
from quantize.plan.types import TypeChoice
from quantize.plan.vocabulary_file import vocabulary_file
from quantize.run.journal import Journal
from quantize.run.memory_budget import memory_of_check
from quantize.run.writer import WrittenFile

CHECK_CTX: Final = 256
"""A window has so many tokens: more windows tell more of noise than longer ones."""

MakeAgain = Callable[[], Sequence[WrittenFile]]
"""A function that makes the tensors that the journal lacks, into the same files."""


@dataclass(frozen=True)
class HeldOutCheck:
    """The check that the caller of a job asks for."""

    texts: tuple[HeldOutText, ...]
    """Texts of other kinds than the calibration's."""
    n_ctx: int = CHECK_CTX
    """The tokens of a window."""

    def hold_out(
        self, work: CalibratedPass, written: Sequence[WrittenFile], sixteen_bits: Path | None
    ) -> tuple[Sequence[WrittenFile], tuple[Verdict, ...]]:
        """Return the files as they are to be published, with what was measured of them, and the verdicts.

        `written`: the plan's outputs, whole; `sixteen_bits`: the model's 16-bit GGUF file. Blocks; counts
        "held-out check of TYPE". What is measured can't be where there is no such file, memory or text for
        it: the verdict says so. Raises Cancelled, OSError.
        """
        journal, files = work.journal, work.calibrated(written)
        journal.add(
            set(range(len(work.plan.tensors))) - journal.done
        )  # nothing of it is lost by a long check
        try:
            model = self._open(work, sixteen_bits)
        except CorralError as error:
            return written, tuple(Verdict(file.type, unmeasured=error.message) for file, _ in files)
        with model:
            verdicts = [model.verdict(file.type, file.path, names, work.control) for file, names in files]
            again = {index for verdict in verdicts for index in work.exclude(verdict)}
            if again:
                written = work.remake(again, written)
                paths = {file.type: file.path for file in written}
                verdicts = [
                    replace(verdict, published=model.losses(paths[verdict.type], verdict.tensors))
                    for verdict in verdicts
                ]
        figures = {verdict.type: verdict.quality() for verdict in verdicts}
        return [replace(file, quality=figures.get(file.type)) for file in written], tuple(verdicts)

    def memory_bytes(self, plan: QuantizationPlan, model: ModelFile) -> int:
        """Return the bytes that the program takes while files are compared with the 16-bit `model`."""
        return memory_of_check(plan, model, n_texts=len(self.texts), n_windows=CHECK_CHUNKS, n_ctx=self.n_ctx)

    def n_windows(self, model: Path) -> int:
        """Return how many windows of all texts are looked at. `model`: any file with the model's vocabulary.

        Raises ConfigError, before a pass and not behind it, if a text is too short.
        """
        return count_windows(model, self.texts, self.n_ctx)

    def windows(self, plan: QuantizationPlan) -> CheckWindows:
        """Return the windows that are looked at of the planned model's tokens. Raises as `n_windows` does."""
        with vocabulary_file(plan) as vocabulary:
            return CheckWindows(self.n_windows(vocabulary), self.n_ctx, N_BATCH)

    def _open(self, work: CalibratedPass, sixteen_bits: Path | None) -> HeldOutModel:
        """Load the 16-bit model. Raises CorralError: there is none, too little memory or text."""
        if sixteen_bits is None:
            raise ConfigError(
                "the model's 16-bit file, to compare with, isn't here; make it with --type F16, and then "
                "these files again with --force"
            )
        needed = self.memory_bytes(work.plan, read_gguf_info(sixteen_bits))
        room = room_for_check(work.memory_bytes)
        if needed > room:
            raise ConfigError(
                f"the check takes {format_bytes(needed)} of memory, with the 16-bit model, and may take "
                f"{format_bytes(room)}; compare this file with a plain one by corral evaluate, which takes "
                "less"
            )
        work.calibration.forget_factors()
        return HeldOutModel(
            sixteen_bits,
            self.texts,
            work.choice,
            n_ctx=self.n_ctx,
            threads=work.threads,
            quantize_rows=work.quantize_rows,
        )


def room_for_check(memory_bytes: int | None) -> int:
    """Return the bytes that a check may take: what is free, and no more than the job may use."""
    free = memory().available_bytes
    return free if memory_bytes is None else min(free, memory_bytes)


@dataclass(frozen=True)
class CalibratedPass:
    """A pass whose files are to be checked. `choice` has its calibration."""

    plan: QuantizationPlan
    choice: TypeChoice
    journal: Journal
    make_again: MakeAgain
    control: JobControl
    threads: int
    quantize_rows: QuantizeRows
    memory_bytes: int | None = None
    """The most memory that the job may use; None for what is free."""

    def calibrated(self, written: Sequence[WrittenFile]) -> list[tuple[WrittenFile, tuple[str, ...]]]:
        """Return the files that have calibrated tensors, and their names."""
        found = [
            (file, self._calibrated(planned))
            for file, planned in zip(written, self.plan.outputs, strict=True)
        ]
        return [(file, names) for file, names in found if names]

    def exclude(self, verdict: Verdict) -> set[int]:
        """Let kinds that lost be rounded plainly from now on; return their tensors' numbers in the plan."""
        file = next(file for file in self.plan.outputs if file.type == verdict.type)
        places = {tensor.name: file.first + place for place, tensor in enumerate(file.tensors)}
        for kind in verdict.fallen:
            for name in kind.tensors:
                self.calibration.exclude([name], kind.reason, file.type_of(places[name]))
        return {places[name] for kind in verdict.fallen for name in kind.tensors}

    def remake(self, tensors: set[int], written: Sequence[WrittenFile]) -> Sequence[WrittenFile]:
        """Make these tensors again, in place. Raises what the pass raises."""
        self.journal.take_back(tensors)
        if not self.journal.done:  # a pass that begins anew makes its files anew
            for path in (path for file in written for path in file.paths):
                path.unlink()
        return self.make_again()

    @property
    def calibration(self) -> Calibration:
        assert self.choice.calibration is not None, "nothing is calibrated"
        return self.choice.calibration

    def _calibrated(self, file: PlannedFile) -> tuple[str, ...]:
        return tuple(
            tensor.name
            for index, tensor in enumerate(file.tensors, file.first)
            if self.plan.calibration_for(index) is not None
            and self.calibration.takes(tensor.ggml_type, tensor.name)
        )
