"""Other people's code says the same: torch.save's own files, and llama.cpp's converter on quantized ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.checkpoint.torch.source import TorchSource
from tests.quantize.checkpoint.forms import FORMS, write_form
from tests.quantize.converter import SOURCES, convert
from tests.quantize.quantize_folder import quantize_folder
from tests.quantize.summary import summary

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900)]

needs_converter = pytest.mark.skipif(SOURCES is None, reason="CORRAL_LLAMA_CPP_SOURCE names no source tree")


def torch_tensors() -> dict[str, Any]:
    import torch

    torch.manual_seed(1)
    base = torch.randn(6, 8)
    return {
        "f32": base,
        "shared": base,
        "transposed": base.T,
        "slice": base[1:4, 2:7],
        "step": base[::2, ::3],
        "f16": torch.randn(3, 5).half(),
        "bf16": torch.randn(3, 5).bfloat16(),
        "f64": torch.randn(4).double(),
        "i64": torch.arange(7),
        "i8": torch.arange(-3, 3).to(torch.int8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "expanded": torch.randn(1, 4).expand(3, 4),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("as_module", [False, True])
def test_what_torch_saves(zipped: bool, protocol: int, as_module: bool, tmp_path: Path) -> None:
    import torch

    tensors = torch_tensors()
    value = tensors
    if as_module:
        module = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.LayerNorm(3))
        value = module.state_dict()
        tensors = dict(value)
    path = tmp_path / "x.bin"
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    source = TorchSource([path])
    assert list(source.entries) == list(tensors)
    for name, tensor in tensors.items():
        bits = tensor.detach()
        expected = bits.float().numpy() if bits.dtype == torch.bfloat16 else bits.numpy()
        entry = source.entries[name]
        assert entry.shape == expected.shape
        rows = source.rows(name, 0, expected.shape[0] if expected.shape else 1)
        np.testing.assert_array_equal(rows.astype(expected.dtype).reshape(expected.shape), expected)
    source.close()


# What the converter can read: no AWQ, no 3 bits, no legacy files, no layers without g_idx, no zeros of 0.
CONVERTIBLE = [
    "torch zip",
    "torch shards",
    "gptq 2",
    "gptq 4",
    "gptq 8",
    "gptq act-order",
    "gptq v2",
    "fp8 blocks",
    "compressed packed",
    "compressed int8",
    "compressed float8",
]


@needs_converter
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_converter_knows_no_carry(bits: int, tmp_path: Path) -> None:
    """We differ from it on purpose: it adds a one to each zero by itself, GPTQModel to whole words."""
    form, plain = write_form(FORMS[f"gptq {bits} with zeros of 0"], tmp_path)
    theirs = convert(form, tmp_path, "qwen2", ["F32"])["F32"]
    file, meant = (quantize_folder(folder, ["F32"], tmp_path)[0] for folder in (form, plain))
    assert summary(file.path)["tensors"] == summary(meant.path)["tensors"] != theirs["tensors"]


@needs_converter
@pytest.mark.parametrize("name", CONVERTIBLE)
def test_the_converter_makes_the_same_file(name: str, tmp_path: Path) -> None:
    form, _ = write_form(FORMS[name], tmp_path)
    theirs = convert(form, tmp_path, "qwen2", ["F32"])["F32"]
    (file,) = quantize_folder(form, ["F32"], tmp_path)
    assert summary(file.path)["tensors"] == theirs["tensors"]
