"""Every type's file equals that of llama.cpp's own `llama_model_quantize`: metadata and tensor data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.demo import DEMO_DIR
from models.doctor.tiny_model import write_tiny_gguf
from models.errors import LlamaCppError
from models.llamacpp.quantization.ggml_types import FTYPES
from models.llamacpp.quantization.quantizer import quantize_file
from models.quantization_types import RULES_OF
from tests.pico import Dtype, write_pico_checkpoint
from tests.quantize.quantize_folder import quantize_folder
from tests.quantize.summary import summary

pytestmark = pytest.mark.model

ALL_TYPES = [name for name in FTYPES if name not in RULES_OF]
"""The types that llama.cpp's quantizer knows; `checkpoint/test_nvfp4.py` has the other one."""
FEW_TYPES = ["F32", "BF16", "Q8_0", "Q5_K_M", "Q4_K_M", "IQ4_XS"]


def assert_identical(
    directory: Path, base_type: str, out_dir: Path, types: Sequence[str] = ALL_TYPES
) -> None:
    """Quantize to `types`, and again by llama.cpp from our own `base_type` file, which loses nothing."""
    files = {file.type: file.path for file in quantize_folder(directory, [*types, base_type], out_dir)}
    for type_ in types:
        theirs = out_dir / f"theirs.{type_}.gguf"
        quantize_file(files[base_type], theirs, FTYPES[type_], 2)
        assert without_ones(summary(files[type_])) == without_ones(summary(theirs)), type_
        theirs.unlink()


def without_ones(found: dict[str, Any]) -> dict[str, Any]:
    """llama.cpp's quantizer drops last axes of one number; its converter doesn't, whose shapes we write."""
    tensors = {
        name: [kind, [n for at, n in enumerate(ne) if at == 0 or max(ne[at:]) > 1], digest]
        for name, (kind, ne, digest) in found["tensors"].items()
    }
    return {**found, "tensors": tensors}


@pytest.mark.parametrize(
    "types",
    [
        pytest.param(["Q8_0", "Q5_K_M", "Q4_K_M"], id="main types"),
        *(
            pytest.param(ALL_TYPES[group::4], id=f"all {group}", marks=pytest.mark.thorough)
            for group in range(4)
        ),
    ],
)
def test_the_demo_model(types: list[str], tmp_path: Path) -> None:
    """All types are those of the smaller models below."""
    assert_identical(DEMO_DIR, "F16", tmp_path, types)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_grouped_queries_and_an_odd_vocabulary(dtype: Dtype, tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico", dtype=dtype, config={"vocab_size": 411})
    assert_identical(directory, dtype, tmp_path, ALL_TYPES if dtype == "F16" else FEW_TYPES)


def test_tied_embeddings_and_sentencepiece(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico", tie=True, tokenizer="spm", n_layers=4, heads=8)
    assert_identical(directory, "F16", tmp_path, FEW_TYPES)


def test_rows_that_blocks_dont_divide(tmp_path: Path) -> None:
    """Hidden size 96: k-quants fall back to blocks of 32."""
    directory = write_pico_checkpoint(tmp_path / "pico", hidden=96, heads=4, kv_heads=1)
    assert_identical(directory, "F16", tmp_path)


@pytest.mark.parametrize("type_", RULES_OF)
def test_a_type_with_anothers_rules_has_none_in_llama_cpp(type_: str, tmp_path: Path) -> None:
    """Once it has, files are to follow them."""
    source = write_tiny_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(LlamaCppError, match="invalid output file type"):
        quantize_file(source, tmp_path / "out.gguf", FTYPES[type_], 1)
