"""Settings wherever they were published; settings that were left behind; what no weight needs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.quantized.detect import dequantize
from quantize.checkpoint.quantized.settings import find_settings
from quantize.checkpoint.quantized.unused import unused_tensors
from tests.pico import write_json
from tests.quantize.checkpoint.memory_source import MemorySource
from tests.quantize.checkpoint.quantized_layers import Quantized, awq, compressed, fp8, gptq

N_OUT, N_IN = 32, 64
LAYER = "model.layers.0.mlp.up_proj"
GPTQ = {"bits": 4, "group_size": 16, "desc_act": False, "sym": False}
AWQ = {"w_bit": 4, "q_group_size": 16, "version": "GEMM", "zero_point": True}
MODELOPT = {
    "producer": {"name": "modelopt"},
    "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]},
}
WEIGHTS = {"num_bits": 8, "strategy": "channel", "type": "int", "symmetric": True}
GROUPS = {
    "format": "int-quantized",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": WEIGHTS}},
}


def as_gptq() -> Quantized:
    return gptq(N_OUT, N_IN, bits=4, group_size=16)


def as_awq() -> Quantized:
    return awq(N_OUT, N_IN, group_size=16)


def as_int8() -> Quantized:
    return compressed(N_OUT, N_IN, bits=8, strategy="channel", packed=False)


def assert_read(layer: Quantized, config: dict[str, Any], folder: Path) -> None:
    tensors = {f"{LAYER}.{name}": array for name, array in layer.tensors.items()}
    source = dequantize(MemorySource(tensors), config, folder)
    assert set(source.entries) == {f"{LAYER}.weight"}
    np.testing.assert_array_equal(source.rows(f"{LAYER}.weight", 0, N_OUT), layer.weight)


@pytest.mark.parametrize(
    ("layer", "file_name", "settings"),
    [
        (as_gptq(), "quantize_config.json", GPTQ),
        (as_gptq(), "quantize_config.json", {"method": "gptq", **GPTQ}),
        (as_awq(), "quant_config.json", AWQ),
        (as_awq(), "quantize_config.json", AWQ),
        (as_awq(), "quantize_config.json", {"quant_method": "awq", "bits": 4, "group_size": 16}),
        (fp8(N_OUT, N_IN), "hf_quant_config.json", MODELOPT),
    ],
)
def test_settings_in_a_file_of_their_own(
    layer: Quantized, file_name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    if not file_name.startswith("hf_"):
        with pytest.raises(CheckpointError, match=r"neither config\.json has a quantization_config"):
            assert_read(layer, {}, tmp_path)
    write_json(tmp_path / file_name, settings)
    assert_read(layer, {}, tmp_path)


@pytest.mark.parametrize(
    ("layer", "config"),
    [
        (as_gptq(), {"text_config": {"quantization_config": {"quant_method": "GPTQ", **GPTQ}}}),
        (as_int8(), {"compression_config": GROUPS}),
        (as_int8(), {"text_config": {"compression_config": GROUPS}}),
        (as_int8(), {"quantization_config": {"quant_method": "compressed_tensors", **GROUPS}}),
        (
            as_int8(),
            {"quantization_config": {"sparsity_config": {"format": "dense"}, "quantization_config": GROUPS}},
        ),
        (as_int8(), {"quantization_config": {**GROUPS, "ignore": ["lm_head"], "kv_cache_scheme": None}}),
        (fp8(N_OUT, N_IN), {"quantization_config": {"quant_method": "modelopt", **MODELOPT}}),
        (fp8(N_OUT, N_IN), {"quantization_config": {"activation_scheme": "static"}}),
        (fp8(N_OUT, N_IN), {}),
        (fp8(N_OUT, N_IN, per_output=True), {"quantization_config": None}),
    ],
)
def test_settings_in_the_configuration(layer: Quantized, config: dict[str, Any]) -> None:
    assert_read(layer, config, Path("nowhere"))


def test_what_the_first_leaves_out_is_in_the_others(tmp_path: Path) -> None:
    write_json(tmp_path / "quantize_config.json", {**GPTQ, "checkpoint_format": "gptq_v2", "bits": 8})
    write_json(tmp_path / "quant_config.json", {**AWQ, "group_size": 7})
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4, "checkpoint_format": None}}
    settings = find_settings(config, tmp_path)
    assert settings == {**GPTQ, "quant_method": "gptq", "checkpoint_format": "gptq_v2"}
    assert_read(gptq(N_OUT, N_IN, bits=4, group_size=16, v2=True), config, tmp_path)


def test_no_settings(tmp_path: Path) -> None:
    assert find_settings({"quantization_config": {}, "text_config": None}, tmp_path) is None
    write_json(tmp_path / "quantize_config.json", {})
    assert find_settings({}, tmp_path) is None


# --- settings that were left behind

WHOLE: dict[str, npt.NDArray[Any]] = {
    f"{LAYER}.weight": np.ones((4, 4), np.float16),
    "transformer.h.0.attn.bias": np.ones((1, 1, 4, 4), np.uint8),
    "mask": np.ones((4, 4), np.uint8),
    "embeddings.position_ids": np.arange(4, dtype=np.int32).reshape(1, 4),
}


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", **GPTQ},
        {"quant_method": "awq", **AWQ},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "compressed-tensors", **GROUPS},
        {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": {"num_bits": 8}},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"load_in_8bit": True},
        {"quant_method": "modelopt", "quant_algo": "FP8"},
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        {"quant_method": "hqq", "quant_config": {}},
        {"quant_method": "modelopt", "quant_algo": None, "kv_cache_quant_algo": "FP8"},
    ],
)
def test_settings_beside_whole_weights_have_no_effect(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    raw = MemorySource(WHOLE)
    with caplog.at_level(logging.WARNING, "corral.quantize"):
        assert dequantize(raw, {"quantization_config": settings}, Path("nowhere")) is raw
    (line,) = caplog.messages
    assert "its weights are whole" in line
    assert str(settings.get("quant_method", "bitsandbytes")) in line


def test_a_file_of_settings_beside_whole_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_json(tmp_path / "quantize_config.json", GPTQ)
    raw = MemorySource(WHOLE)
    assert dequantize(raw, {}, tmp_path) is raw
    assert "(gptq), and its weights are whole" in caplog.text


@pytest.mark.parametrize("method", ["bitnet", "aqlm", "modelopt"])
def test_methods_whose_tensors_are_not_known_are_refused(method: str) -> None:
    raw = MemorySource(WHOLE)
    config = {"quantization_config": {"quant_method": method, "quant_algo": "W8A8_SQ_PER_CHANNEL"}}
    with pytest.raises(
        CheckpointError, match=f"by {method} W8A8_SQ_PER_CHANNEL.*or remove its quantization_config"
    ):
        dequantize(raw, config, Path("nowhere"))
    assert raw.closed


@pytest.mark.parametrize("sign", [".SCB", ".weight.absmax", ".W_q", ".codebooks", ".trellis"])
def test_the_tensors_of_other_methods_are_seen(sign: str) -> None:
    raw = MemorySource({f"{LAYER}{sign}": np.ones(4, np.float32)})
    with pytest.raises(CheckpointError, match="no tensor is in that form"):
        dequantize(raw, {"quantization_config": {"load_in_8bit": True}}, Path("nowhere"))


# --- what no weight needs

UNUSED = (
    "input_scale",
    "output_scale",
    "k_scale",
    "v_scale",
    "q_scale",
    "prob_scale",
    "kv_scale",
    "kv_cache_scale",
    "input_zero_point",
    "k_zero_point",
    "activation_scale",
    "input_scale_ub",
    "qscale_act",
)


@pytest.mark.parametrize(
    ("layer", "settings"),
    [
        (as_gptq(), {"quant_method": "gptq", **GPTQ}),
        (as_awq(), {"quant_method": "awq", **AWQ}),
        (fp8(N_OUT, N_IN), {"quant_method": "fp8"}),
        (as_int8(), {"quant_method": "compressed-tensors", **GROUPS}),
        (Quantized({"weight": np.ones((N_OUT, N_IN), np.float32)}, np.ones((N_OUT, N_IN), np.float32)), {}),
    ],
)
def test_scales_that_no_weight_needs_are_left_out(layer: Quantized, settings: dict[str, Any]) -> None:
    scales = {name: np.ones(1, np.float32) for name in UNUSED}
    assert_read(
        Quantized({**layer.tensors, **scales}, layer.weight), {"quantization_config": settings}, Path("no")
    )


def test_weights_and_their_scales_are_needed() -> None:
    needed = ["x.weight", "x.weight_scale", "x.scales", "x.q_norm.weight", "x.bias", "x.pre_quant_scale"]
    assert unused_tensors(needed) == []
