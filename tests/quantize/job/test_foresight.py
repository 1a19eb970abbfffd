"""What a calibrated pass would refuse is refused before a text's moments are collected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError, DiskFull, QuantizationError, StoreError
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.calibration.held_out import HeldOutText
from quantize.evaluate.windows import TextPlan
from quantize.job.foresight import Foresight, TextToCollect, foresee
from quantize.job.held_out_check import HeldOutCheck
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from tests.pico import write_pico_checkpoint
from tests.quantize.calibration.pico_moments import TEXT, calibration_by, collect_pico_moments

pytestmark = pytest.mark.model

TO_COLLECT = TextToCollect("pico text", TextPlan(TEXT, n_ctx=64, n_chunks=24))
"""The text of `collect_pico_moments`."""


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))


@pytest.fixture
def ref(tmp_path: Path) -> ModelRef:
    return ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))


def look(
    ref: ModelRef, store: ModelStore, *types: str, text: TextToCollect = TO_COLLECT, **options: Any
) -> Foresight:
    return foresee(ref, types, store=store, options=QuantizeOptions(**options), text=text)


def test_files_that_are_here(ref: ModelRef, store: ModelStore, tmp_path: Path) -> None:
    assert look(ref, store, "Q4_0", "IQ2_S") == Foresight(is_needed=True, is_planned=True)
    (sixteen,) = quantize_reference(
        ref, ["F16"], store=store, options=QuantizeOptions(out_dir=tmp_path)
    ).files
    with collect_pico_moments(sixteen.path, tmp_path) as moments:
        choice = TypeChoice(calibration=calibration_by(moments))
        made = quantize_reference(ref, ["F16", "Q4_0"], store=store, options=QuantizeOptions(choice=choice))
    options = QuantizeOptions(choice=TypeChoice(awaits_calibration=True), dry_run=True)
    planned = quantize_reference(ref, ["F16", "Q4_0"], store=store, options=options)
    assert planned.memory_bytes == pytest.approx(made.memory_bytes, abs=10_000)
    assert planned.missing_bytes == 0
    # The words are those of the store, though nothing but its vocabulary was looked at.
    assert not look(ref, store, "F16", "Q4_0").is_needed
    assert look(ref, store, "Q4_0", "Q8_0").is_needed
    for other in (replace(TO_COLLECT, label="other"), replace(TO_COLLECT, plan=TextPlan(TEXT, 64, 8))):
        with pytest.raises(QuantizationError, match="has Q4_0 already, which wasn't calibrated so; --force"):
            look(ref, store, "Q4_0", text=other)
        assert look(ref, store, "Q4_0", text=other, force=True).is_needed
    with pytest.raises(ConfigError, match="give a longer text"):
        look(ref, store, "Q4_0", text=replace(TO_COLLECT, plan=TextPlan("short", 64)))
    with pytest.raises(QuantizationError, match=r"pico\.F16\.gguf exists; .*--force"):
        look(ref, store, "F16", "Q4_0", out_dir=tmp_path)


def test_what_the_pass_would_refuse(
    ref: ModelRef, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(QuantizationError, match=r"MIX-4\.85 is no type"):
        look(ref, store, "MIX-4.85")
    short = replace(TO_COLLECT, plan=TextPlan(TEXT[:100], 64))
    with pytest.raises(ConfigError, match="pico text is too short to calibrate on"):
        look(ref, store, "Q4_0", text=short)
    check = HeldOutCheck((HeldOutText("mine.txt", "short"),))
    with pytest.raises(ConfigError, match=r"mine\.txt has .* give a longer text with --held-out"):
        look(ref, store, "Q4_0", held_out=check)
    with pytest.raises(QuantizationError, match="give --memory at least"):
        look(ref, store, "Q4_0", run=RunOptions(memory_bytes=2**20))
    (file := tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"out can't be written; .* set --out elsewhere"):
        look(ref, store, "Q4_0", out_dir=file / "out")
    monkeypatch.setattr(ModelStore, "free_bytes", lambda _: 1000)
    with pytest.raises(DiskFull, match=r"bytes and .* has 1,000 free; free some, or set CORRAL_HOME"):
        look(ref, store, "Q4_0")
    staged = store.paths.staging_dir / "interrupted"
    staged.mkdir(parents=True)
    (staged / "pico.Q4_0.gguf").write_bytes(bytes(2**20))
    assert look(ref, store, "Q4_0").is_needed, "what an interrupted run left is gone on with, or makes room"
