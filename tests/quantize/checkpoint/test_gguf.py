"""A GGUF file as a source: decoded as the gguf package decodes it, whole or in parts."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.gguf import open_gguf
from tests.gguf_reader import QuickReader
from tests.pico import write_pico_checkpoint
from tests.quantize.quantize_folder import quantize_folder

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q5_1", "IQ4_XS", "Q3_K_M", "Q2_K"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    checkpoint = write_pico_checkpoint(folder / "pico", n_layers=1)
    return {file.type: file.path for file in quantize_folder(checkpoint, TYPES, folder)}


@pytest.mark.parametrize("type_", TYPES)
def test_rows_are_what_the_gguf_package_reads(type_: str, files: dict[str, Path]) -> None:
    with Checkpoint.open(files[type_]) as checkpoint:
        assert checkpoint.gguf is not None
        source = checkpoint.tensors
        for tensor in QuickReader(files[type_]).tensors:
            n_per_row = int(tensor.shape[0])
            entry = source.entries[tensor.name]
            expected = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(-1, n_per_row)
            expected = expected if len(entry.shape) == 2 else expected.reshape(-1)
            assert entry.shape == expected.shape
            whole = source.rows(tensor.name, 0, len(expected))
            assert whole.dtype == entry.dtype
            np.testing.assert_array_equal(whole.astype(np.float32), expected)
            np.testing.assert_array_equal(source.rows(tensor.name, 2, 5).astype(np.float32), expected[2:5])


def test_blocks_are_the_bytes_of_the_file(files: dict[str, Path]) -> None:
    source = open_gguf(files["Q4_K_M"])
    for tensor in QuickReader(files["Q4_K_M"]).tensors:
        raw = tensor.data.view(np.uint8).reshape(-1)
        rows = int(tensor.n_elements // tensor.shape[0])
        np.testing.assert_array_equal(source.raw_rows(tensor.name, 0, rows), raw)
    source.close()


def test_a_file_without_weights(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="no model with weights"):
        open_gguf(tmp_path / "x.gguf")
