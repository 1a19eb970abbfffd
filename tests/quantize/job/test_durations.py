"""A dry run tells the times that it can, and never fails for the sake of one."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest

from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.calibration.check_time import CheckWindows
from quantize.job.durations import estimate_durations
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.kernels.compiler import KernelCompiler
from quantize.moments.sampling import Sampling
from quantize.plan.plan import QuantizationPlan
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from tests.pico import write_pico_checkpoint

pytestmark = pytest.mark.model

TEXT, WINDOWS = Sampling(16, 64), CheckWindows(8, 64, 512)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> QuantizationPlan:
    folder = tmp_path_factory.mktemp("durations")
    store = ModelStore(Paths(home=folder / "home", hf_cache=folder / "hub"))
    ref = ModelRef.parse(str(write_pico_checkpoint(folder / "pico", n_layers=1)))
    options = QuantizeOptions(choice=TypeChoice(awaits_calibration=True), dry_run=True)
    made = quantize_reference(ref, ["Q4_K_M"], store=store, options=options).plan
    assert made is not None
    return made


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelCompiler:
    return KernelCompiler(tmp_path_factory.mktemp("compiled"))


def test_a_full_place_for_temporary_files_costs_two_times_alone(
    plan: QuantizationPlan,
    kernels: KernelCompiler,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = RunOptions(threads=1)
    whole = estimate_durations(plan, kernels, run, text=TEXT, windows=WINDOWS)
    assert whole.collecting is not None
    assert whole.check is not None
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    caplog.set_level(logging.WARNING, "corral.quantize")
    told = estimate_durations(plan, kernels, run, text=TEXT, windows=WINDOWS)
    assert (told.collecting, told.check) == (None, None)
    assert told.rounding > 0
    assert "TMPDIR" in caplog.text


def test_no_time_is_told_of_sums_that_will_be_refused(
    plan: QuantizationPlan, kernels: KernelCompiler
) -> None:
    told = estimate_durations(plan, kernels, RunOptions(threads=1, memory_bytes=1), text=TEXT)
    assert told.collecting is None
