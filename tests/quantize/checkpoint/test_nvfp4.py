"""NVFP4 as published, and as a file's type: blocks are kept with their second scales, and others made.

Second scales count only where llama.cpp's graph multiplies by them, which is tried for each architecture.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError, QuantizationError
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.checkpoint.quantized.nvfp4 import nvfp4_layers
from quantize.plan.second_scales import LARGEST, MADE_EXPONENT, scale_name
from quantize.run.writer import WrittenFile
from tests.gguf_reader import QuickReader
from tests.pico import pico_tensors, write_json, write_pico_checkpoint
from tests.pico_tokenizer import write_bpe_tokenizer
from tests.quantize.checkpoint.forms import FORMS, write_form
from tests.quantize.checkpoint.memory_source import MemorySource
from tests.quantize.checkpoint.write_tensors import write_any_safetensors
from tests.quantize.converter import SOURCES, convert
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, tensor_values
from tests.quantize.quantize_folder import quantize_folder, run_plan
from tests.quantize.summary import summary
from tests.quantize.test_meaning import llama_cpp_logits

pytestmark = pytest.mark.model

NVFP4_FORMS = ("nvfp4 of modelopt", "compressed nvfp4")
NVFP4 = GGML_TYPES["NVFP4"]
MEANINGS = (0, 0.5, 1, 1.5, 2, 3, 4, 6)
TOKENS = [5, 300, 17, 42, 42, 399, 0, 120]


def tensors_of(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in QuickReader(path).tensors}


def meant(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return what rows of blocks mean without their second scale, by the layout of block_nvfp4 in ggml."""
    rows = []
    for row in raw:
        numbers: list[float] = []
        for block in row.reshape(-1, 36):
            for group in range(4):
                scale = float(block[group : group + 1].view(ml_dtypes.float8_e4m3fn)[0])
                packed = block[4 + 8 * group : 12 + 8 * group]
                codes = [*(packed & 15), *(packed >> 4)]
                numbers += [(-1 if code & 8 else 1) * MEANINGS[code & 7] * scale for code in codes]
        rows.append(numbers)
    return np.array(rows, np.float32)


@pytest.mark.parametrize("name", NVFP4_FORMS)
def test_blocks_are_kept(name: str, tmp_path: Path) -> None:
    form, plain = write_form(FORMS[name], tmp_path, intermediate_size=128)
    (file,) = quantize_folder(form, ["NVFP4"], tmp_path)
    (whole,) = quantize_folder(plain, ["F32"], tmp_path)
    found, expected = tensors_of(file.path), tensors_of(whole.path)
    matrices = {key for key in expected if key.startswith("blk.") and "_norm" not in key}
    assert len(matrices) == 7
    for key in matrices:
        assert found[key].tensor_type.name == "NVFP4"
        scale = found[scale_name(key)]
        assert scale.tensor_type.name == "F32"
        weights = meant(found[key].data) * scale.data
        np.testing.assert_allclose(weights, expected[key].data, rtol=2e-7)
    assert {found[key].tensor_type.name for key in ("token_embd.weight", "output.weight")} == {"Q8_0"}
    assert found.keys() == expected.keys() | {scale_name(key) for key in matrices}
    ours, theirs = (llama_cpp_logits(path, TOKENS) for path in (file.path, whole.path))
    np.testing.assert_allclose(ours, theirs, atol=0.05 * theirs.std())


@pytest.mark.parametrize("name", NVFP4_FORMS)
def test_other_types_are_those_of_the_weights_that_are_meant(name: str, tmp_path: Path) -> None:
    """Also when blocks are kept in the same pass."""
    form, plain = write_form(FORMS[name], tmp_path, intermediate_size=128)
    files = quantize_folder(form, ["F16", "NVFP4", "Q4_K_M"], tmp_path)
    expected = quantize_folder(plain, ["F16", "Q4_K_M"], tmp_path)
    for file, other in zip((files[0], files[2]), expected, strict=True):
        assert summary(file.path)["tensors"] == summary(other.path)["tensors"]


def test_a_file_of_kept_blocks_is_itself_again(tmp_path: Path) -> None:
    form, _ = write_form(FORMS[NVFP4_FORMS[0]], tmp_path, intermediate_size=128)
    (file,) = run_plan(form, ["NVFP4"], tmp_path)
    again, whole = run_plan(file.path, ["NVFP4", "F32"], tmp_path)
    assert summary(again.path) == summary(file.path)
    ours, theirs = (llama_cpp_logits(path, TOKENS) for path in (file.path, whole.path))
    np.testing.assert_allclose(ours, theirs, atol=0.05 * theirs.std())


def test_rows_that_are_no_blocks_of_64(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """down_proj has 96 inputs, and is encoded with little loss instead."""
    form, _ = write_form(FORMS[NVFP4_FORMS[0]], tmp_path)
    with caplog.at_level(logging.WARNING, logger="corral.quantize"):
        (file,) = run_plan(form, ["NVFP4"], tmp_path)
    assert "1 tensors that the checkpoint has in NVFP4 can't stay in their blocks" in caplog.text
    found = tensors_of(file.path)
    assert found["blk.0.ffn_down.weight"].tensor_type.name == "Q8_0"
    assert scale_name("blk.0.ffn_down.weight") not in found


@pytest.mark.parametrize("byte", [0x7F, 0xFF, 0x81])
def test_scales_that_blocks_have_no_place_for(byte: int) -> None:
    """ggml reads the bits of NaN as 0, and has no sign; the converter drops it."""
    scales = np.full((2, 4), 0x38, np.uint8)
    scales[1, 2] = byte
    parts = {
        "x.weight": np.zeros((2, 32), np.uint8),
        "x.weight_scale": scales.view(ml_dtypes.float8_e4m3fn),
        "x.weight_scale_2": np.ones((), np.float32),
    }
    source = MemorySource(parts)
    (layer,) = nvfp4_layers(source.entries)
    assert layer.raw_rows(source, 0, 1).shape == (1, 36)
    with pytest.raises(CheckpointError, match="below zero or that aren't numbers"):
        layer.raw_rows(source, 1, 2)


def test_negative_zero_is_a_scale_of_zero() -> None:
    parts = {
        "x.weight": np.full((1, 32), 0x77, np.uint8),
        "x.weight_scale": np.array([[0x80, 0x38, 1, 0x7E]], np.uint8).view(ml_dtypes.float8_e4m3fn),
        "x.weight_scale_2": np.ones((), np.float32),
    }
    source = MemorySource(parts)
    (layer,) = nvfp4_layers(source.entries)
    raw = layer.raw_rows(source, 0, 1)
    assert raw[0, :4].tolist() == [0, 0x38, 1, 0x7E]
    np.testing.assert_array_equal(meant(raw), layer.rows(source, 0, 1))


@pytest.mark.oracle
@pytest.mark.timeout(900)
@pytest.mark.skipif(SOURCES is None, reason="CORRAL_LLAMA_CPP_SOURCE names no source tree")
@pytest.mark.parametrize("name", NVFP4_FORMS)
def test_the_converter_keeps_the_same_blocks(name: str, tmp_path: Path) -> None:
    form, _ = write_form(FORMS[name], tmp_path, intermediate_size=128)
    theirs = convert(form, tmp_path, "qwen2", ["F16"])["F16"]
    (file,) = run_plan(form, ["NVFP4"], tmp_path)
    ours = summary(file.path)
    assert ours["metadata"]["general.file_type"] == theirs["metadata"]["general.file_type"]
    layers = {key for key in ours["tensors"] if key.endswith(".scale") or "NVFP4" in ours["tensors"][key]}
    assert len(layers) == 14
    assert {key: ours["tensors"][key] for key in layers} == {key: theirs["tensors"][key] for key in layers}


# From whole weights.


def encoded(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return ggml's encoding of rows times what the second scale takes back."""
    rows = np.ascontiguousarray(rows.astype(np.float32) * np.float32(2.0**-MADE_EXPONENT))
    out = np.empty(len(rows) * row_size(NVFP4, rows.shape[1]), np.uint8)
    quantize_rows(NVFP4, rows, out)
    return out.reshape(len(rows), -1)


def test_whole_weights_become_nvfp4(tmp_path: Path) -> None:
    """Where Q4_0's rules have Q4_0 and the graph takes second scales; else those rules hold."""
    directory = write_pico_checkpoint(tmp_path / "pico")
    file, rules, whole = quantize_folder(directory, ["NVFP4", "Q4_0", "F32"], tmp_path)
    found, expected, plain = (tensors_of(each.path) for each in (file, rules, whole))
    in_blocks = {key for key, tensor in found.items() if tensor.tensor_type.name == "NVFP4"}
    assert in_blocks == {key for key in expected if key.startswith("blk.") and "_norm" not in key}
    for key, tensor in found.items():
        if key in in_blocks:
            np.testing.assert_array_equal(tensor.data, encoded(plain[key].data))
            assert found[scale_name(key)].data.tolist() == [2.0**MADE_EXPONENT]
        elif not key.endswith(".scale"):
            assert tensor.tensor_type == expected[key].tensor_type
            np.testing.assert_array_equal(tensor.data, expected[key].data)
    ours, theirs = (llama_cpp_logits(each.path, TOKENS) for each in (file, whole))
    assert np.abs(ours - theirs).mean() < 0.25 * theirs.std()


def test_small_weights_keep_their_bits() -> None:
    """Of weights of a thousandth ggml's encoder alone makes zeros."""
    rows = np.random.default_rng(0).standard_normal((4, 256), np.float32) * np.float32(1e-3)
    plain = np.empty(4 * row_size(NVFP4, 256), np.uint8)
    quantize_rows(NVFP4, rows, plain)
    assert not meant(plain.reshape(4, -1)).any()
    errors = meant(encoded(rows)) * np.float32(2.0**MADE_EXPONENT) - rows
    assert np.sqrt((errors**2).mean()) < 0.11e-3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.inf, "NaN or infinite"),
        (np.nan, "NaN or infinite"),
        (-LARGEST * 1.01, r"too large for NVFP4 \(largest magnitude here 21\.2"),
    ],
)
def test_what_nvfp4_cant_hold(value: float, reason: str, tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico", n_layers=1, dtype="F32")
    config = {
        "hidden_size": 256, "intermediate_size": 512, "vocab_size": 410, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_hidden_layers": 1, "tie_word_embeddings": False,
    }  # fmt: skip
    tensors = pico_tensors(config, seed=0, dtype="F32")
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = value
    write_any_safetensors(directory / "model.safetensors", tensors)
    with pytest.raises(QuantizationError, match=rf"blk\.0\.ffn_up\.weight .*{reason}"):
        run_plan(directory, ["NVFP4"], tmp_path)


# Experts, each with a second scale of its own.


def packed(shape: tuple[int, int], seed: int) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """Return a random layer's tensors as modelopt has them, and what they mean."""
    random = np.random.default_rng(seed)
    numbers = random.integers(0, 16, shape)
    scales = random.uniform(60, 400, (shape[0], shape[1] // 16)).astype(ml_dtypes.float8_e4m3fn)
    factor = np.float32(random.uniform(0.5, 2) * 1e-4)
    signed = np.array([*MEANINGS, *(-value for value in MEANINGS)], np.float32)
    weight = signed[numbers] * np.repeat(scales.astype(np.float32) * factor, 16, axis=1)
    tensors = {
        "weight": (numbers[:, ::2] | numbers[:, 1::2] << 4).astype(np.uint8),
        "weight_scale": scales,
        "weight_scale_2": np.array(factor),
    }
    return tensors, weight


def test_experts_are_kept(tmp_path: Path) -> None:
    golden = read_golden(next(family for family in ALL_FAMILIES if family.name == "qwen3-moe"))
    whole: dict[str, Any] = {}
    published: dict[str, Any] = {}
    for seed, (name, (_, shape)) in enumerate(golden["tensors"].items()):
        if ".experts." in name:
            parts, whole[name] = packed((shape[0], shape[1]), seed)
            published |= {name.removesuffix("weight") + part: values for part, values in parts.items()}
        else:
            whole[name] = published[name] = tensor_values(name, tuple(shape), "F16")
    files: list[WrittenFile] = []
    for folder, tensors in ((tmp_path / "published", published), (tmp_path / "whole", whole)):
        folder.mkdir()
        write_bpe_tokenizer(folder)
        settings = {"quant_method": "modelopt", "quant_algo": "NVFP4"} if tensors is published else {}
        more = {"quantization_config": settings} if settings else {}
        write_json(folder / "config.json", golden["config"] | more)
        write_any_safetensors(folder / "model.safetensors", tensors)
        files += run_plan(folder, ["NVFP4" if settings else "F32"], tmp_path)
    found, expected = (tensors_of(file.path) for file in files)
    for part in ("gate", "up", "down"):
        name = f"blk.1.ffn_{part}_exps.weight"
        scales, plain = found[scale_name(name)].data, expected[name].data
        assert len(set(scales.tolist())) == len(plain) > 1
        for expert, matrix in enumerate(plain):
            raw = found[name].data[expert].reshape(len(matrix), -1)
            np.testing.assert_allclose(meant(raw) * scales[expert], matrix, rtol=2e-7)
    assert found["blk.1.attn_q.weight"].tensor_type.name == "Q8_0"
    ours, theirs = (llama_cpp_logits(file.path, TOKENS)[0] for file in files)
    np.testing.assert_allclose(ours, theirs, atol=0.05 * theirs.std())  # later ones may meet other experts
