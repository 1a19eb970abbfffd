"""gpt-oss as published, its experts in MXFP4: the same files as from the weights they mean, blocks kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf.quants import dequantize

from models.errors import CheckpointError
from models.llamacpp.quantization.ggml_types import FTYPES
from models.llamacpp.quantization.quantizer import quantize_file
from quantize.checkpoint.quantized.detect import dequantize as dequantized
from tests.gguf_reader import QuickReader
from tests.pico import write_json
from tests.pico_tokenizer import write_bpe_tokenizer
from tests.quantize.checkpoint.memory_source import MemorySource
from tests.quantize.checkpoint.write_tensors import write_any_safetensors
from tests.quantize.converter import SOURCES, convert
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, tensor_values
from tests.quantize.quantize_folder import quantize_folder, run_plan
from tests.quantize.summary import summary
from tests.quantize.test_byte_identity import assert_identical

pytestmark = pytest.mark.model

FAMILY = next(family for family in ALL_FAMILIES if family.name == "gpt-oss")
NUMBERS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
SETTINGS = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
EXPERTS = tuple(
    f"blk.{layer}.ffn_{part}_exps.weight" for layer in range(2) for part in ("gate", "up", "down")
)


def packed(shape: tuple[int, ...], seed: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Return random blocks and scales of experts of [n_experts, n_out, n_in]; some are all zeros."""
    random = np.random.default_rng(seed)
    n_experts, n_out, n_in = shape
    blocks = random.integers(0, 256, (n_experts, n_out, n_in // 32, 16), np.uint8)
    scales = random.integers(120, 125, blocks.shape[:3], np.uint8)
    blocks[0, 0, 0], scales[0, 1, 0] = 0, 0
    return {"_blocks": blocks, "_scales": scales}


def meant(parts: dict[str, npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Return the weights [n_experts, n_out, n_in], number by number."""
    blocks, scales = parts["_blocks"], parts["_scales"]
    weights = np.empty((*blocks.shape[:3], 32), np.float32)
    for i in range(16):
        weights[..., 2 * i] = NUMBERS[blocks[..., i] % 16]
        weights[..., 2 * i + 1] = NUMBERS[blocks[..., i] // 16]
    powers = np.ldexp(np.float32(1), scales.astype(np.int32) - 127)
    return (weights * powers[..., None]).reshape(*blocks.shape[:2], -1)


def write_both(folder: Path) -> tuple[Path, Path]:
    """Write the model as published, and with whole experts in F32. Return both folders."""
    golden = read_golden(FAMILY)
    published: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    for seed, (name, (_, shape)) in enumerate(golden["tensors"].items()):
        if name.endswith("_proj") and "experts" in name:
            n_experts, n_in, n_out = shape
            parts = packed((n_experts, n_out, n_in), seed)
            published |= {name + suffix: values for suffix, values in parts.items()}
            whole[name] = np.ascontiguousarray(meant(parts).swapaxes(1, 2))
        else:
            whole[name] = published[name] = tensor_values(name, tuple(shape), "F16")
    for path, tensors in ((folder / "published", published), (folder / "whole", whole)):
        path.mkdir()
        write_bpe_tokenizer(path)
        settings = {"quantization_config": SETTINGS} if tensors is published else {}
        write_json(path / "config.json", golden["config"] | settings)
        write_any_safetensors(path / "model.safetensors", tensors)
    return folder / "published", folder / "whole"


def test_files_are_those_of_the_weights_that_are_meant(tmp_path: Path) -> None:
    published, whole = write_both(tmp_path)
    types = ["F32", "BF16", "Q8_0", "Q4_K_M"]
    files, expected = (run_plan(folder, types, tmp_path) for folder in (published, whole))
    for file, other in zip(files, expected, strict=True):
        assert summary(file.path)["tensors"] == summary(other.path)["tensors"], file.type


def test_blocks_are_kept(tmp_path: Path) -> None:
    published, whole = write_both(tmp_path)
    (file,) = quantize_folder(published, ["MXFP4_MOE"], tmp_path)
    (plain,) = quantize_folder(whole, ["F32"], tmp_path)
    found = {tensor.name: tensor for tensor in QuickReader(file.path).tensors}
    expected = {tensor.name: tensor for tensor in QuickReader(plain.path).tensors}
    for name in EXPERTS:
        assert found[name].tensor_type.name == "MXFP4"
        weights = dequantize(found[name].data, found[name].tensor_type)
        np.testing.assert_array_equal(weights, expected[name].data)
    others = {name: tensor.tensor_type.name for name, tensor in found.items() if name not in EXPERTS}
    assert {others[name] for name in ("token_embd.weight", "blk.0.attn_q.weight")} == {"Q8_0"}
    again = tmp_path / "again.gguf"
    quantize_file(file.path, again, FTYPES["MXFP4_MOE"], 2)
    assert summary(again)["tensors"] == summary(file.path)["tensors"]


def test_whole_experts_become_mxfp4_as_llama_cpp_makes_them(tmp_path: Path) -> None:
    _, whole = write_both(tmp_path)
    assert_identical(whole, "F32", tmp_path, ["MXFP4_MOE"])


@pytest.mark.oracle
@pytest.mark.skipif(SOURCES is None, reason="CORRAL_LLAMA_CPP_SOURCE names no source tree")
def test_the_converter_makes_the_same_blocks(tmp_path: Path) -> None:
    published, _ = write_both(tmp_path)
    theirs = convert(published, tmp_path, "qwen2", ["F16"])["F16"]["tensors"]
    (file,) = run_plan(published, ["MXFP4_MOE"], tmp_path)
    ours = summary(file.path)["tensors"]
    assert {name: ours[name] for name in EXPERTS} == {name: theirs[name] for name in EXPERTS}


@pytest.mark.oracle
def test_transformers_means_the_same_weights() -> None:
    import torch
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    parts = packed((2, 6, 64), 1)
    blocks, scales = (torch.from_numpy(parts[name]) for name in ("_blocks", "_scales"))
    theirs = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).numpy()
    source = dequantized(MemorySource({f"x{name}": values for name, values in parts.items()}), {}, Path())
    np.testing.assert_array_equal(source.rows("x.weight", 0, 2), theirs.swapaxes(1, 2))


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("lacks x_scales", {"x_scales": None}),
        ("x_scales is uint8 \\[2, 6, 1\\]", {"x_scales": np.zeros((2, 6, 1), np.uint8)}),
        ("x_blocks is uint8 \\[2, 6, 32\\]", {"x_blocks": np.zeros((2, 6, 32), np.uint8)}),
        ("x_blocks is float32", {"x_blocks": np.zeros((2, 6, 2, 16), np.float32)}),
    ],
)
def test_parts_that_dont_fit(fault: str, change: dict[str, Any], tmp_path: Path) -> None:
    parts = {f"x{name}": values for name, values in packed((2, 6, 64), 1).items()} | change
    source = MemorySource({name: values for name, values in parts.items() if values is not None})
    with pytest.raises(CheckpointError, match=fault):
        dequantized(source, {"quantization_config": SETTINGS}, tmp_path)


def test_a_scale_that_is_no_number(tmp_path: Path) -> None:
    parts = packed((2, 6, 64), 1)
    parts["_scales"][1, 3, 1] = 255
    source = dequantized(MemorySource({f"x{name}": values for name, values in parts.items()}), {}, tmp_path)
    assert source.rows("x.weight", 0, 1).shape == (1, 6, 64)
    with pytest.raises(CheckpointError, match="aren't numbers"):
        source.rows("x.weight", 1, 2)
