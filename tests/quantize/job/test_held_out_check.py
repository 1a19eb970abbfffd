"""The held-out check of calibrated files: what lost by calibration is put right before it is published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from models.errors import ConfigError, QuantizationError
from models.llamacpp.quantization.quantizer import quantize_rows
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.calibration.calibration import Calibration
from quantize.calibration.held_out import HeldOutModel, HeldOutText
from quantize.calibration.verdict import Verdict
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.gguf import open_gguf
from quantize.control import Cancelled, JobControl
from quantize.job.held_out_check import CalibratedPass, HeldOutCheck
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.plan.make_plan import make_plan
from quantize.plan.plan import QuantizationPlan
from quantize.plan.types import TypeChoice
from quantize.run.journal import Journal
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from quantize.run.writer import WrittenFile
from tests.pico import write_pico_checkpoint
from tests.quantize.calibration.pico_moments import FOREIGN, calibration_by, collect_pico_moments
from tests.quantize.quantize_folder import quantize_folder

pytestmark = pytest.mark.model

N_CTX = 64
CHECK = HeldOutCheck((HeldOutText("foreign", FOREIGN),), n_ctx=N_CTX)
SPOILED = "ffn_down.weight"
ONE_THREAD = RunOptions(threads=1)


@dataclass(frozen=True)
class Pass:
    """A pass over a pico checkpoint, in a folder as the service's staging is."""

    checkpoint: Checkpoint
    folder: Path
    calibration: Calibration

    @property
    def choice(self) -> TypeChoice:
        return TypeChoice(calibration=self.calibration)

    @property
    def plan(self) -> QuantizationPlan:
        return make_plan(self.checkpoint, ["Q4_K_M"], choice=self.choice)

    @property
    def path(self) -> Path:
        return self.folder / "pico.gguf"

    def journal(self) -> Journal:
        return Journal(self.folder / "journal", "key")

    def make(self, journal: Journal) -> Sequence[WrittenFile]:
        return run(self.plan, self.checkpoint.tensors, [self.path], ONE_THREAD, journal=journal)

    def check(
        self,
        journal: Journal,
        written: Sequence[WrittenFile],
        sixteen_bits: Path | None,
        *,
        cut: bool = False,
        memory_bytes: int | None = None,
    ) -> tuple[Sequence[WrittenFile], tuple[Verdict, ...]]:
        control = JobControl()
        options = replace(ONE_THREAD, save_every_s=60.0)
        again = partial(
            run,
            self.plan,
            self.checkpoint.tensors,
            [self.path],
            options,
            journal=journal,
            control=JobControl(on_progress=lambda _: control.cancel.set(), cancel=control.cancel)
            if cut
            else None,
        )
        work = CalibratedPass(
            self.plan, self.choice, journal, again, JobControl(), 1, quantize_rows, memory_bytes
        )
        return CHECK.hold_out(work, written, sixteen_bits)


def tensors(path: Path) -> dict[str, bytes]:
    with closing(open_gguf(path)) as file:
        return {
            name: file.raw_rows(name, 0, _n_rows(entry.shape)).tobytes()
            for name, entry in file.entries.items()
        }


def _n_rows(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) == 1 else shape[0]


def spoil(path: Path) -> None:
    """Write zeros over the tensors of one kind: blocks of zeros."""
    with closing(open_gguf(path)) as file:
        places = [(t.offset, t.nbytes) for t in file.info.tensors if t.name.endswith(SPOILED)]
    with path.open("r+b") as out:
        for offset, n_bytes in places:
            out.seek(offset)
            out.write(bytes(n_bytes))


def test_a_kind_that_lost_is_rounded_plainly(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    sixteen = quantize_folder(directory, ["F16"], tmp_path)[0].path
    with collect_pico_moments(sixteen, tmp_path) as moments, Checkpoint.open(directory) as checkpoint:
        calibration = calibration_by(moments)
        one = Pass(checkpoint, tmp_path / "work", calibration)
        one.folder.mkdir()
        journal = one.journal()
        written = one.make(journal)
        good = tensors(one.path)
        plain_path = tmp_path / "plain.gguf"
        run(
            make_plan(checkpoint, ["Q4_K_M"], choice=TypeChoice(calibration.importance())),
            checkpoint.tensors,
            [plain_path],
            ONE_THREAD,
        )
        plain = tensors(plain_path)
        assert good != plain

        same, (verdict,) = one.check(journal, written, sixteen, memory_bytes=1000)
        assert "the check takes" in str(verdict.unmeasured)
        assert same == written

        spoil(one.path)
        with pytest.raises(Cancelled):
            one.check(journal, written, sixteen, cut=True)
        # A run that is killed while tensors are made again knows which.
        assert 0 < len(journal.done) < len(one.plan.tensors)
        assert Journal(one.folder / "journal", "key").done == journal.done

        calibration = calibration_by(moments)
        one = replace(one, calibration=calibration)
        journal = one.journal()
        written = one.make(journal)
        assert tensors(one.path) == good
        spoil(one.path)
        written, (verdict,) = one.check(journal, written, sixteen)
    assert SPOILED in {kind.kind for kind in verdict.fallen}
    fallen = {name for kind in verdict.fallen for name in kind.tensors}
    made = tensors(one.path)
    assert made == {name: plain[name] if name in fallen else good[name] for name in good}
    assert written[0].sha256 == (hashlib.sha256(one.path.read_bytes()).hexdigest(),)
    assert verdict.published[0].calibrated < verdict.whole[0].calibrated
    assert written[0].quality == verdict.quality()
    assert SPOILED in written[0].quality["rounded_plainly"]
    assert {name.split(" as ")[0] for name in calibration.plain} >= fallen


def test_what_is_not_calibrated_counts_in_the_whole_files_loss(tmp_path: Path) -> None:
    """As one file: its ternary tensors lose most, and nobody calibrates them."""
    directory = write_pico_checkpoint(tmp_path / "pico", n_layers=1)
    sixteen, ternary = (file.path for file in quantize_folder(directory, ["F16", "TQ1_0"], tmp_path))
    with collect_pico_moments(sixteen, tmp_path) as moments:
        choice = TypeChoice(moments.importance())
    with HeldOutModel(sixteen, CHECK.texts, choice, n_ctx=N_CTX, threads=1) as model:
        verdict = model.verdict("TQ1_0", ternary, ["output.weight"], JobControl())
    (kind,) = verdict.kinds
    assert verdict.whole[0].calibrated > 5 * kind.losses[0].calibrated
    assert verdict.whole[0].plain > 5 * kind.losses[0].plain


def test_the_service_checks_and_keeps_what_it_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    quantize_reference(ref, ["Q4_0"], store=store)
    (sixteen,) = quantize_reference(
        ref, ["F16"], store=store, options=QuantizeOptions(out_dir=tmp_path)
    ).files
    with collect_pico_moments(sixteen.path, tmp_path) as moments:
        choice = TypeChoice(calibration=calibration_by(moments))
        options = QuantizeOptions(choice=choice, held_out=CHECK, run=ONE_THREAD)
        with pytest.raises(QuantizationError, match="--force replaces it"):
            quantize_reference(ref, ["Q4_0"], store=store, options=options)

        streamless = quantize_reference(ref, ["Q4_0"], store=store, options=replace(options, force=True))
        (verdict,) = streamless.verdicts
        assert "16-bit file" in str(verdict.unmeasured)

        made = quantize_reference(ref, ["F16", "Q5_0"], store=store, options=options)
        (verdict,) = made.verdicts
        assert verdict.type == "Q5_0"
        assert verdict.unmeasured is None
        again = quantize_reference(ref, ["Q5_0"], store=store, options=options)
        assert again.existing == ("Q5_0",)

        short = replace(options, held_out=HeldOutCheck((HeldOutText("short", "too short"),)))
        with pytest.raises(ConfigError, match="short has"):
            quantize_reference(ref, ["Q8_0"], store=store, options=short)
        assert "another file" not in caplog.text
        other = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "other", n_layers=1, seed=1)))
        quantize_reference(other, ["F16"], store=store)
        quantize_reference(other, ["Q4_0"], store=store, options=replace(options, held_out=None))
        assert "the moments are those of another file" in caplog.text
    model = store.get(ref)
    files = {file.type: file for file in model.manifest.files}
    assert files["Q5_0"].quality is not None
    assert files["Q5_0"].quality["held_out_text"] == "foreign"
    assert str(files["Q5_0"].calibration).startswith("pico text (")
    assert "Q8_0" not in files
