"""Every type's file equals the one that llama.cpp's own `llama_model_quantize` makes: metadata and tensor data."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.demo import DEMO_DIR
from models.llamacpp.quantizer import FTYPES, quantize_file
from quantize.pipeline import quantize
from tests.pico import write_pico_checkpoint
from tests.quantize.summary import summary

pytestmark = pytest.mark.model

LOSSLESS = {"F16": "F16", "BF16": "BF16", "F32": "F32"}


def assert_identical(directory: Path, base_type: str, out_dir: Path) -> None:
    """Quantize to every type, and again by llama.cpp from our own `base_type` file, which loses nothing."""
    result = quantize(directory, list(FTYPES), out_dir, name="x", threads=2)
    files = {file.type: file.path for file in result.files}
    for type_, ftype in FTYPES.items():
        theirs = out_dir / f"theirs.{type_}.gguf"
        quantize_file(files[base_type], theirs, ftype, 2)
        assert summary(files[type_]) == summary(theirs), type_
        theirs.unlink()


def test_the_demo_model(tmp_path: Path) -> None:
    assert_identical(DEMO_DIR, "F16", tmp_path)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_grouped_queries_and_an_odd_vocabulary(dtype: str, tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico", dtype=dtype, config={"vocab_size": 411})  # type: ignore[arg-type]
    assert_identical(directory, LOSSLESS[dtype], tmp_path)


def test_tied_embeddings_and_sentencepiece(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico", tie=True, tokenizer="spm", n_layers=4, heads=8)
    assert_identical(directory, "F16", tmp_path)


def test_rows_that_blocks_dont_divide(tmp_path: Path) -> None:
    """Hidden size 96: k-quants fall back to blocks of 32."""
    directory = write_pico_checkpoint(tmp_path / "pico", hidden=96, heads=4, kv_heads=1)
    assert_identical(directory, "F16", tmp_path)
