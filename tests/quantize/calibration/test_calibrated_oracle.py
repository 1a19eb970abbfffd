"""Calibrated files in llama.cpp's own `llama-perplexity`: it loads them, and measures what we do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.demo import DEMO_DIR
from models.gguf.info import read_gguf_info
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.evaluate.measure import measure
from quantize.evaluate.windows import TextPlan, read_text
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.moments.collect import MomentMeans, collect_moments
from quantize.moments.file import read_moments
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from tests.llama_tools import figure, run_tool
from tests.quantize.calibration.pico_moments import calibration_by
from tests.quantize.quantize_folder import quantize_folder

pytestmark = pytest.mark.oracle

TEXTS = DEMO_DIR / "texts"
CHUNKS = 4
TYPES = ("Q4_K_M", "IQ4_XS")


def test_calibrated_files_load_and_lose_what_we_say(tmp_path: Path) -> None:
    base = quantize_folder("demo", ["F16"], tmp_path)[0].path
    text = read_text((TEXTS / "calibration.txt").read_bytes())
    made = tmp_path / "demo.moments.gguf"
    collect_moments(base, TextPlan(text, n_chunks=4), made, label="demo", means=MomentMeans(threads=2))
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    with read_moments(made) as moments:
        options = QuantizeOptions(
            out_dir=tmp_path / "calibrated",
            choice=TypeChoice(calibration=calibration_by(moments)),
            run=RunOptions(threads=2),
        )
        files = quantize_reference(ModelRef.parse("demo"), TYPES, store=store, options=options).files
    held_out = TEXTS / "held_out.txt"
    plan = TextPlan(read_text(held_out.read_bytes()), 512, CHUNKS)
    paths = [file.path for file in files]
    plain = quantize_folder("demo", [TYPES[0]], tmp_path)[0].path
    _, uncalibrated, *ours = measure([plain, *paths], base, plan, threads=2)

    common = ("-f", held_out, "-t", "2", "-c", "512", "--chunks", str(CHUNKS))
    kept = tmp_path / "base.kld"
    run_tool("llama-perplexity", "-m", base, *common, "--save-all-logits", kept)
    for file, quality in zip(files, ours, strict=True):
        assert read_gguf_info(file.path).metadata["corral.calibration.text"] == "demo"
        theirs = run_tool(
            "llama-perplexity", "-m", file.path, *common, "--kl-divergence-base", kept, "--kl-divergence"
        )
        divergence = quality.divergence
        assert divergence is not None
        assert divergence.mean.value == pytest.approx(figure(theirs, "Mean    KLD"), rel=1e-3), file.type
        assert quality.perplexity.perplexity.value == pytest.approx(
            figure(theirs, re.escape("Mean PPL(Q)")), rel=1e-3
        )
    assert uncalibrated.divergence is not None
    assert ours[0].divergence is not None
    assert ours[0].divergence.mean.value < 0.8 * uncalibrated.divergence.mean.value
