"""`corral imatrix` against `llama-imatrix`: the same model, text and chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.demo import DEMO_DIR
from quantize.evaluate.windows import TextPlan, read_text
from quantize.imatrix.compute import compute_imatrix
from quantize.imatrix.file import read_imatrix, write_imatrix
from tests.llama_tools import run_tool
from tests.quantize.quantize_folder import quantize_folder

pytestmark = pytest.mark.oracle

TEXT = DEMO_DIR / "texts" / "calibration.txt"
BOUND = 2e-4
"""Relative: llama-imatrix adds 5,120 squares in f32, we in f64."""


@pytest.mark.parametrize("form", ["gguf", "dat"])
def test_the_sums_are_those_of_llama_imatrix(form: str, tmp_path: Path) -> None:
    model = quantize_folder("demo", ["F16"], tmp_path)[0].path
    theirs = tmp_path / f"theirs.{form}"
    run_tool(
        "llama-imatrix", "-m", model, "-f", TEXT, "-o", theirs, "--output-format", form, "--chunks", "10",
        "-t", "2", "--process-output",
    )  # fmt: skip
    ours = tmp_path / f"ours.{form}"
    text = read_text(TEXT.read_bytes())
    matrix = compute_imatrix(
        model, TextPlan(text, n_chunks=10), dataset=str(TEXT), process_output=True, threads=2
    )
    write_imatrix(matrix, ours)
    a, b = read_imatrix(ours), read_imatrix(theirs)
    assert (a.datasets, a.chunk_count, a.chunk_size) == (b.datasets, b.chunk_count, b.chunk_size)
    assert set(a.entries) == set(b.entries)
    for name, entry in b.entries.items():
        assert np.array_equal(a.entries[name].counts, entry.counts), name
        assert np.allclose(a.entries[name].sums, entry.sums, rtol=BOUND, atol=0.0), name
    assert len(ours.read_bytes()) == len(theirs.read_bytes())
