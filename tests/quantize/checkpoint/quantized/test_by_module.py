"""Settings that differ from module to module, as GPTQModel and AutoRound write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.quantized.by_module import matches, settings_of
from quantize.checkpoint.quantized.detect import dequantize
from tests.quantize.checkpoint.memory_source import MemorySource
from tests.quantize.checkpoint.quantized_layers import Quantized, awq, compressed, gptq

N_OUT, N_IN = 32, 64
BASE = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False}
DOWN, UP = "model.layers.0.mlp.down_proj", "model.layers.1.mlp.up_proj"


def assert_read(layers: dict[str, Quantized], settings: dict[str, Any]) -> None:
    tensors = {f"{name}.{part}": t for name, layer in layers.items() for part, t in layer.tensors.items()}
    source = dequantize(MemorySource(tensors), {"quantization_config": settings}, Path("nowhere"))
    for name, layer in layers.items():
        np.testing.assert_array_equal(source.rows(f"{name}.weight", 0, N_OUT), layer.weight)


@pytest.mark.parametrize("prefix", ["", "+:"])
@pytest.mark.parametrize(
    "change", [{"bits": 8}, {"group_size": 16}, {"bits": 2, "group_size": -1}, {"bits": 3}]
)
def test_dynamic_changes_bits_and_groups(prefix: str, change: dict[str, int]) -> None:
    layers = {
        DOWN: gptq(N_OUT, N_IN, bits=change.get("bits", 4), group_size=change.get("group_size", 32)),
        UP: gptq(N_OUT, N_IN, bits=4, group_size=32, seed=1),
    }
    assert_read(layers, {**BASE, "dynamic": {f"{prefix}.*\\.down.*": change}})
    assert_read(layers, {**BASE, "extra_config": {DOWN: change}})
    assert_read(layers, {**BASE, "extra_config": {".*down_proj": change}})


def test_modules_that_are_left_whole_are_no_layers() -> None:
    whole = np.ones((N_OUT, N_IN), np.float16)
    layer = gptq(N_OUT, N_IN, bits=4, group_size=32)
    tensors = {f"{DOWN}.{name}": array for name, array in layer.tensors.items()} | {f"{UP}.weight": whole}
    settings = {**BASE, "dynamic": {"-:.*up_proj": {}, "lm_head": {"bits": 8}}}
    source = dequantize(MemorySource(tensors), {"quantization_config": settings}, Path("nowhere"))
    assert source.entries[f"{UP}.weight"].dtype == np.float16
    np.testing.assert_array_equal(source.rows(f"{DOWN}.weight", 0, N_OUT), layer.weight)


def test_the_first_pattern_counts_after_those_that_leave_whole() -> None:
    dynamic = {r"model\.layers\.0\.": {"bits": 8}, ".*down": {"bits": 2}, r"-:.*layers\.0\.attn": {}}
    settings = {**BASE, "dynamic": dynamic}
    assert settings_of(DOWN, settings)["bits"] == 8
    assert settings_of("model.layers.5.mlp.down_proj", settings)["bits"] == 2
    assert settings_of("model.layers.0.attn", settings)["bits"] == 4
    assert settings_of("layers.0.mlp", settings) == settings


def test_dynamic_of_awq() -> None:
    layers = {DOWN: awq(N_OUT, N_IN, group_size=16), UP: awq(N_OUT, N_IN, group_size=32)}
    assert_read(layers, {**BASE, "quant_method": "awq", "dynamic": {".*down": {"group_size": 16}}})


def test_groups_of_compressed_tensors() -> None:
    def scheme(*targets: str, **weights: Any) -> dict[str, Any]:
        return {"targets": list(targets), "weights": weights}

    layers = {
        DOWN: compressed(N_OUT, N_IN, bits=8, strategy="channel"),
        UP: compressed(N_OUT, N_IN, bits=4, strategy="group", group_size=16, asymmetric=True),
        "lm_head": compressed(N_OUT, N_IN, bits=4, strategy="group", group_size=32),
    }
    groups = {
        "group_0": scheme("Linear", num_bits=4, strategy="GROUP", group_size=32),
        "group_1": scheme("re:.*down_proj$", num_bits=8, group_size=-1),
        "group_2": scheme(UP, num_bits=4, group_size=16, symmetric=False),
        "activations": {"targets": ["re:.*"], "weights": None, "input_activations": {"num_bits": 8}},
    }
    settings = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
    assert_read(layers, settings)


@pytest.mark.parametrize(
    ("dynamic", "reason"),
    [
        ({"(": {"bits": 8}}, r"the pattern '\(' .* can't be read"),
        ({".*" + "a" * 5000: {"bits": 8}}, "has 5,002 characters, the limit is 4,000"),
        ({".*down": 8}, "is '8'; it must be settings"),
        ({".*down": {"bits": 5}}, "says 5 bits"),
        (["down"], "dynamic in the quantization_config"),
    ],
)
def test_what_cant_be_read_is_refused(dynamic: Any, reason: str) -> None:
    layer = gptq(N_OUT, N_IN, bits=4, group_size=32)
    with pytest.raises(CheckpointError, match=reason):
        assert_read({DOWN: layer}, {**BASE, "dynamic": dynamic})


def test_a_pattern_matches_the_beginning_or_all() -> None:
    assert matches("model", DOWN)
    assert not matches("layers", DOWN)
    assert not matches("model", DOWN, whole=True)
    assert matches(".*proj", DOWN, whole=True)
