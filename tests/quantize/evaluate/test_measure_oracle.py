"""`corral evaluate` against `llama-perplexity`: the same files, text and context, within a thousandth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.demo import DEMO_DIR
from quantize.evaluate.measure import measure
from quantize.evaluate.windows import TextPlan, read_text
from tests.llama_tools import figure, run_tool
from tests.quantize.quantize_folder import quantize_folder

pytestmark = pytest.mark.oracle

TEXT = DEMO_DIR / "texts" / "held_out.txt"
CHUNKS = 12


def test_perplexity_and_divergence(tmp_path: Path) -> None:
    base, small = (file.path for file in quantize_folder("demo", ["F16", "Q4_K_M"], tmp_path))
    common = ("-f", TEXT, "-t", "2", "-c", "512", "--chunks", str(CHUNKS))
    kept = tmp_path / "base.kld"
    first = run_tool("llama-perplexity", "-m", base, *common, "--save-all-logits", kept)
    second = run_tool(
        "llama-perplexity", "-m", small, *common, "--kl-divergence-base", kept, "--kl-divergence"
    )
    plan = TextPlan(read_text(TEXT.read_bytes()), 512, CHUNKS)
    ours = measure([small], base, plan, threads=2)
    assert ours[0].perplexity.perplexity.value == pytest.approx(
        figure(first, "Final estimate: PPL"), rel=1e-3
    )
    assert ours[1].perplexity.perplexity.value == pytest.approx(
        figure(second, re.escape("Mean PPL(Q)")), rel=1e-3
    )
    divergence = ours[1].divergence
    assert divergence is not None
    assert divergence.mean.value == pytest.approx(figure(second, "Mean    KLD"), rel=1e-3)
    assert divergence.p99 == pytest.approx(figure(second, re.escape("99.0%   KLD")), rel=1e-3)
    assert divergence.maximum == pytest.approx(figure(second, "Maximum KLD"), rel=1e-3)
    assert 100 * divergence.same_top.value == pytest.approx(figure(second, "Same top p"), abs=0.05)
