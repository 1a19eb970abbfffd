"""Every form's values, to the last bit, against scalar formulas; and settings that contradict the tensors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.quantized.detect import dequantize
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.checkpoint.source import TensorSource
from tests.quantize.checkpoint.memory_source import MemorySource
from tests.quantize.checkpoint.quantized_layers import (
    Quantized,
    as_int32,
    awq,
    awq_fast,
    bitnet,
    compressed,
    eight_bits_of_bitsandbytes,
    four_bits_of_bitsandbytes,
    fp8,
    gptq,
    hqq,
    marlin,
    modelopt_int4,
    nvfp4,
    smoothed,
    stream,
)
from tests.quantize.checkpoint.write_tensors import write_any_safetensors

N_OUT, N_IN = 96, 64
LAYER = "model.layers.0.mlp.up_proj"
NORM = np.arange(8, dtype=np.float16)


def gptq_config(bits: int, group_size: int, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": group_size, **more}


def awq_config(group_size: int, version: str = "gemm") -> dict[str, Any]:
    return {
        "quant_method": "awq",
        "bits": 4,
        "group_size": group_size,
        "version": version,
        "zero_point": True,
    }


def compressed_config(
    bits: int, strategy: str, layout: str = "pack-quantized", **weights: Any
) -> dict[str, Any]:
    described = {"num_bits": bits, "strategy": strategy, "type": "int", "symmetric": True, **weights}
    groups = {"group_0": {"targets": ["Linear"], "weights": described}}
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "config_groups": groups,
        "ignore": ["lm_head"],
    }


def by_number(v2: Quantized) -> Quantized:
    """Subtract one from each zero of 3 bits by itself, modulo 8: a zero of 0 is stored as 7."""
    rows = []
    for row in v2.tensors["qzeros"].view(np.uint32).tolist():
        whole = sum(word << (32 * i) for i, word in enumerate(row))
        zeros = [((whole >> at) - 1) % 8 for at in range(0, 32 * len(row), 3)]
        rows.append(stream(zeros, 3))
    return Quantized({**v2.tensors, "qzeros": as_int32(rows)}, v2.weight)


def renamed(layer: Quantized, old: str, new: str) -> Quantized:
    return Quantized({new if name == old else name: t for name, t in layer.tensors.items()}, layer.weight)


def without_zeros(symmetric: Quantized) -> Quantized:
    tensors = {name: array for name, array in symmetric.tensors.items() if name != "qzeros"}
    return Quantized(tensors, symmetric.weight)


def in_bfloat16(layer: Quantized) -> Quantized:
    """Return the same bytes as numbers of another type, which bitsandbytes may store them in."""
    halves = layer.tensors["weight"].reshape(-1).view(ml_dtypes.bfloat16).reshape(-1, 1)
    return Quantized({**layer.tensors, "weight": halves}, layer.weight)


BITSANDBYTES = {"quant_method": "bitsandbytes", "load_in_4bit": True}
V2 = {"checkpoint_format": "gptq_v2"}
FORMS: dict[str, tuple[Quantized, dict[str, Any]]] = {
    **{
        f"gptq {bits} bits": (gptq(N_OUT, N_IN, bits=bits, group_size=16), gptq_config(bits, 16))
        for bits in (2, 3, 4, 8)
    },
    **{
        f"gptq {bits} bits, act-order": (
            gptq(N_OUT, N_IN, bits=bits, group_size=16, act_order=True),
            gptq_config(bits, 16, desc_act=True),
        )
        for bits in (3, 4)
    },
    **{
        f"gptq_v2 {bits} bits": (
            gptq(N_OUT, N_IN, bits=bits, group_size=16, v2=True),
            gptq_config(bits, 16, **V2),
        )
        for bits in (2, 3, 4, 8)
    },
    "gptq without g_idx": (gptq(N_OUT, N_IN, bits=4, group_size=16, g_idx=False), gptq_config(4, 16)),
    **{
        f"gptq {bits} bits in words of {word_bits}": (
            gptq(N_OUT, N_IN, bits=bits, group_size=16, word_bits=word_bits),
            gptq_config(bits, 16, pack_dtype=f"int{word_bits}"),
        )
        for bits in (2, 4, 8)
        for word_bits in (8, 16, 64)
    },
    "gptq 3 bits, symmetric, by number": (
        by_number(gptq(N_OUT, N_IN, bits=3, group_size=16, sym=True, v2=True)),
        gptq_config(3, 16, sym=True),
    ),
    "gptq 3 bits, by number": (
        by_number(gptq(N_OUT, N_IN, bits=3, group_size=16, v2=True, lowest_zero=1)),
        gptq_config(3, 16, sym=False),
    ),
    "gptq 3 bits of GPTQModel 2": (
        gptq(N_OUT, N_IN, bits=3, group_size=16, ones=[0x24924924, 0x92492492, 0x49249249]),
        gptq_config(3, 16, meta={"quantizer": ["gptqmodel:2.1.0"]}),
    ),
    "gptq 3 bits of GPTQModel 6.1": (
        by_number(gptq(N_OUT, N_IN, bits=3, group_size=16, v2=True)),
        gptq_config(3, 16, meta={"quantizer": "gptqmodel:6.1.2"}),
    ),
    "gptq_v2 in the newer field": (
        gptq(N_OUT, N_IN, bits=4, group_size=16, v2=True),
        gptq_config(4, 16, format="gptq_v2"),
    ),
    "gptq_v2 in meta": (
        gptq(N_OUT, N_IN, bits=4, group_size=16, v2=True),
        gptq_config(4, 16, meta={"checkpoint_format": "gptq_v2"}),
    ),
    "gptq with scales in BF16": (
        gptq(N_OUT, N_IN, bits=4, group_size=16, scale_dtype=ml_dtypes.bfloat16),
        gptq_config(4, 16),
    ),
    "gptq without zeros": (
        without_zeros(gptq(N_OUT, N_IN, bits=4, group_size=16, sym=True)),
        gptq_config(4, 16, sym=True),
    ),
    "gptq symmetric": (gptq(N_OUT, N_IN, bits=4, group_size=32, sym=True), gptq_config(4, 32, sym=True)),
    "gptq, one group": (gptq(N_OUT, N_IN, bits=4, group_size=-1), gptq_config(4, -1)),
    "gptq, a last group that isn't full": (gptq(N_OUT, N_IN, bits=4, group_size=48), gptq_config(4, 48)),
    "gptq, 40 outputs": (gptq(40, N_IN, bits=4, group_size=16), gptq_config(4, 16)),
    "awq gemm": (awq(N_OUT, N_IN, group_size=16), awq_config(16)),
    "awq gemm, one group": (awq(N_OUT, N_IN, group_size=-1), awq_config(-1)),
    "awq gemm in the newer field": (
        awq(N_OUT, N_IN, group_size=16),
        {"quant_method": "awq", "bits": 4, "group_size": 16, "format": "gemm"},
    ),
    "awq for exllama": (awq(N_OUT, N_IN, group_size=16), awq_config(16, "exllama")),
    "auto-round as gptq": (
        gptq(N_OUT, N_IN, bits=4, group_size=16),
        gptq_config(4, 16) | {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq"},
    ),
    "auto-round as awq": (
        awq(N_OUT, N_IN, group_size=16),
        {
            "quant_method": "auto-round",
            "bits": 4,
            "group_size": 16,
            "packing_format": "auto_round:auto_awq",
        },
    ),
    "awq gemv": (awq(N_OUT, N_IN, group_size=16, gemv=True), awq_config(16, "gemv")),
    "awq for ipex": (awq(N_OUT, N_IN, group_size=16), awq_config(16, "ipex")),
    "awq gemv_fast": (awq_fast(N_OUT, N_IN, group_size=32), awq_config(32, "gemv_fast")),
    "awq gemv_fast, one group": (awq_fast(N_OUT, 128, group_size=-1), awq_config(-1, "gemv_fast")),
    "awq of llm-awq": (
        awq_fast(N_OUT, N_IN, group_size=16, zeros_name="scaled_zeros"),
        awq_config(16, "gemm") | {"backend": "llm-awq"},
    ),
    "awq marlin": (marlin(128, N_IN, group_size=32, names=("qweight", "scales")), awq_config(32, "marlin")),
    "gptq marlin": (
        marlin(192, N_IN, group_size=16),
        gptq_config(4, 16, checkpoint_format="marlin", sym=True),
    ),
    "gptq marlin, one group": (marlin(64, N_IN, group_size=-1), gptq_config(4, -1, is_marlin_format=True)),
    "marlin of IST-DASLab": (marlin(64, N_IN, group_size=32), {"quant_method": "marlin", "group_size": 32}),
    "fp8 blocks": (
        fp8(N_OUT, N_IN, block=(32, 16)),
        {"quant_method": "fp8", "weight_block_size": [32, 16]},
    ),
    "fp8 blocks that don't fit": (
        fp8(70, 50, block=(32, 16), scale_dtype=ml_dtypes.bfloat16),
        {"quant_method": "fp8", "weight_block_size": [32, 16]},
    ),
    "fp8 per tensor": (fp8(N_OUT, N_IN), {"quant_method": "fp8", "activation_scheme": "static"}),
    "fp8 in Mistral's names": (
        renamed(fp8(N_OUT, N_IN), "weight_scale", "qscale_weight"),
        {"quant_method": "fp8"},
    ),
    "fp8 blocks of the usual size": (
        fp8(200, 300, block=(128, 128)),
        {"quant_method": "fp8", "activation_scheme": "dynamic"},
    ),
    "fp8 per tensor among blocks": (
        fp8(N_OUT, N_IN),
        {"quant_method": "fp8", "weight_block_size": [32, 16]},
    ),
    "modelopt fp8": (fp8(N_OUT, N_IN), {"quant_method": "modelopt", "quant_algo": "FP8"}),
    "modelopt fp8 per output": (
        fp8(N_OUT, N_IN, per_output=True),
        {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}},
    ),
    "modelopt, mixed, all of it fp8": (
        fp8(N_OUT, N_IN),
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
    ),
    "quark fp8": (fp8(N_OUT, N_IN), {"quant_method": "quark"}),
    "fp8 e5m2": (fp8(N_OUT, N_IN, dtype=ml_dtypes.float8_e5m2), {"quant_method": "fp8"}),
    "fp8 per output": (fp8(N_OUT, N_IN, per_output=True), {"quant_method": "fbgemm_fp8"}),
    "packed int4 in groups": (
        compressed(N_OUT, N_IN, bits=4, strategy="group", group_size=16),
        compressed_config(4, "group", group_size=16),
    ),
    "packed int4 in groups with zeros": (
        compressed(N_OUT, N_IN, bits=4, strategy="group", group_size=16, asymmetric=True),
        compressed_config(4, "group", group_size=16, symmetric=False),
    ),
    "packed int4 with plain zeros": (
        compressed(N_OUT, N_IN, bits=4, strategy="group", group_size=16, asymmetric=True, plain_zeros=True),
        compressed_config(4, "group", group_size=16, symmetric=False),
    ),
    "packed int4 in act-order": (
        compressed(N_OUT, N_IN, bits=4, strategy="group", group_size=16, asymmetric=True, act_order=True),
        compressed_config(4, "group", group_size=16, actorder="group"),
    ),
    "packed int8 per output": (
        compressed(N_OUT, N_IN, bits=8, strategy="channel"),
        compressed_config(8, "channel"),
    ),
    "packed int3": (
        compressed(N_OUT, N_IN, bits=3, strategy="channel", asymmetric=True),
        compressed_config(3, "channel"),
    ),
    "int8 per output": (
        compressed(N_OUT, N_IN, bits=8, strategy="channel", packed=False, asymmetric=True),
        compressed_config(8, "channel", "int-quantized"),
    ),
    "int8 per tensor": (
        compressed(N_OUT, N_IN, bits=8, strategy="tensor", packed=False),
        compressed_config(8, "tensor", "naive-quantized"),
    ),
    "float8 per output": (
        fp8(N_OUT, N_IN, per_output=True),
        compressed_config(8, "channel", "float-quantized", type="float"),
    ),
    "float8 per tensor": (
        fp8(N_OUT, N_IN),
        compressed_config(8, "tensor", "naive-quantized", type="float"),
    ),
    "nf4": (four_bits_of_bitsandbytes(N_OUT, N_IN, nested=False), BITSANDBYTES),
    "nf4, nested": (four_bits_of_bitsandbytes(N_OUT, N_IN, nested=True), BITSANDBYTES),
    "nf4 in bfloat16": (in_bfloat16(four_bits_of_bitsandbytes(N_OUT, N_IN, nested=False)), BITSANDBYTES),
    "nf4, rows that blocks don't divide": (four_bits_of_bitsandbytes(N_OUT, 50, nested=True), BITSANDBYTES),
    "llm.int8": (
        eight_bits_of_bitsandbytes(N_OUT, N_IN),
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
    ),
    **{
        f"hqq of {bits} bits": (hqq(N_OUT, N_IN, bits=bits), {"quant_method": "hqq"}) for bits in (2, 3, 4, 8)
    },
    **{
        f"hqq of {bits} bits in columns": (hqq(N_OUT, N_IN, bits=bits, axis=0), {"quant_method": "hqq"})
        for bits in (1, 3, 4)
    },
    "bitnet": (bitnet(N_OUT, N_IN), {"quant_method": "bitnet"}),
    "bitnet, multiplied": (
        bitnet(N_OUT, N_IN, multiplies=True),
        {"quant_method": "bitnet", "linear_class": "autobitlinear"},
    ),
    "modelopt nvfp4": (
        nvfp4(N_OUT, N_IN, is_divisor=False),
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    ),
    "modelopt nvfp4 awq": (
        smoothed(nvfp4(N_OUT, N_IN, is_divisor=False)),
        {"quant_method": "modelopt", "quant_algo": "NVFP4_AWQ", "pre_quant_scale": True},
    ),
    "modelopt int4 awq": (
        smoothed(modelopt_int4(N_OUT, N_IN, group_size=16)),
        {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 16},
    ),
    "modelopt int4, not smoothed": (
        modelopt_int4(N_OUT, N_IN, group_size=32),
        {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"},
    ),
    "modelopt w4a8 awq": (
        smoothed(modelopt_int4(N_OUT, N_IN, group_size=16, second_scale=True), axes=2),
        {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"},
    ),
    "modelopt fp8, smoothed": (
        smoothed(fp8(N_OUT, N_IN)),
        {"quant_method": "modelopt", "quant_algo": "FP8"},
    ),
    "compressed nvfp4": (
        nvfp4(N_OUT, N_IN, is_divisor=True),
        compressed_config(4, "tensor_group", "nvfp4-pack-quantized", group_size=16),
    ),
}


def opened(form: str, change: Any = None, **settings: Any) -> tuple[TensorSource, MemorySource]:
    quantized, config = FORMS[form]
    tensors: dict[str, Any] = {"embed.weight": NORM.reshape(2, 4)}
    tensors |= {f"{LAYER}.{name}": array for name, array in quantized.tensors.items()}
    tensors |= {f"{LAYER}.bias": NORM, "norm.weight": NORM}
    if change is not None:
        change(tensors)
    raw = MemorySource(tensors)
    config = {"quantization_config": {**config, **settings}}
    return dequantize(raw, config, Path("nowhere")), raw


@pytest.mark.parametrize("form", FORMS)
def test_values_are_the_formulas_to_the_last_bit(form: str) -> None:
    source, _ = opened(form)
    weight = FORMS[form][0].weight
    entry = source.entries[f"{LAYER}.weight"]
    assert entry.shape == weight.shape
    assert entry.dtype == np.float32
    whole = source.rows(entry.name, 0, len(weight))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole.view(np.uint32), weight.view(np.uint32))


@pytest.mark.parametrize("form", FORMS)
def test_any_rows_are_the_rows_of_the_whole(form: str) -> None:
    source, _ = opened(form)
    weight, name = FORMS[form][0].weight, f"{LAYER}.weight"
    ends = [0, 1, 7, 8, 9, 31, 32, 33, len(weight) - 1, len(weight)]
    for start in ends:
        for stop in ends:
            if start <= stop <= len(weight):
                np.testing.assert_array_equal(source.rows(name, start, stop), weight[start:stop])


@pytest.mark.parametrize("form", FORMS)
def test_other_tensors_pass_through(form: str) -> None:
    source, raw = opened(form)
    assert list(source.entries) == ["embed.weight", f"{LAYER}.weight", f"{LAYER}.bias", "norm.weight"]
    np.testing.assert_array_equal(source.rows(f"{LAYER}.bias", 0, 8), NORM)
    assert source.rows("norm.weight", 0, 8).dtype == np.float16
    source.close()
    assert raw.closed


@pytest.mark.parametrize("form", ["gptq 3 bits", "awq gemm", "fp8 blocks", "packed int4 in act-order"])
def test_files_are_read_by_columns_and_by_several_threads(form: str, tmp_path: Path) -> None:
    quantized, config = FORMS[form]
    path = tmp_path / "model.safetensors"
    write_any_safetensors(path, {f"{LAYER}.{name}": array for name, array in quantized.tensors.items()})
    source = dequantize(SafetensorsSource([path]), {"quantization_config": config}, tmp_path)
    name, n_out = f"{LAYER}.weight", len(quantized.weight)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda at: source.rows(name, at, min(at + 8, n_out)), range(0, n_out, 8)))
    np.testing.assert_array_equal(np.concatenate(parts), quantized.weight)
    source.close()


def put(name: str, array: Any) -> Any:
    return lambda tensors: tensors.__setitem__(f"{LAYER}.{name}", array)


def drop(name: str) -> Any:
    return lambda tensors: tensors.pop(f"{LAYER}.{name}")


INT32 = np.zeros((4, 4), np.int32)
STATE = "weight.quant_state.bitsandbytes__nf4"


@pytest.mark.parametrize(
    ("form", "change", "settings", "reason"),
    [
        ("gptq without zeros", None, {"sym": False}, r"lacks .*up_proj\.qzeros"),
        ("gptq 3 bits", put("qweight", np.zeros((12, 96), np.int16)), {}, "3 bits into int16; only int32"),
        ("gptq 4 bits", None, {"is_marlin_format": True}, r"marlin kernel .*qzeros isn't"),
        ("gptq 4 bits", None, {"checkpoint_format": "gptq_p"}, "gptq_p kernel"),
        ("gptq 4 bits", None, {"quant_method": "auto-round"}, "packed as none"),
        ("awq gemm", None, {"backend": "llm-awq"}, "kernel llm-awq"),
        ("modelopt fp8", put("pre_quant_scale", np.ones(3, np.float16)), {}, "a number for each of 64"),
        ("modelopt int4 awq", put("pre_quant_scale", np.ones(N_IN, np.int32)), {}, "a number for each of 64"),
        (
            "modelopt int4 awq",
            put("weight_scale", np.ones((N_OUT, 3), np.float16)),
            {},
            "groups of 64 inputs",
        ),
        ("modelopt int4 awq", put("weight_scale", np.ones((8, 4), np.float16)), {}, r"float16 \[8, 4\]"),
        ("modelopt int4 awq", put("weight", np.ones(8, np.uint8)), {}, "a matrix of bytes"),
        ("modelopt int4 awq", drop("weight_scale"), {}, "calls for|lacks"),
        (
            "modelopt nvfp4",
            put("svdquant_lora_a", np.ones((4, N_IN), np.float16)),
            {},
            "a part of SVDQuant's",
        ),
        (
            "modelopt nvfp4",
            put("weight_zero_point", np.ones(1, np.float16)),
            {},
            "quantized by modelopt NVFP4",
        ),
        (
            "modelopt nvfp4",
            lambda tensors: tensors.__setitem__("lm_head.pre_quant_scale", np.ones(N_IN, np.float16)),
            {},
            "scales the inputs of no quantized weight",
        ),
        ("modelopt fp8", None, {"quant_method": "fp8", "weight_block_size": [7]}, "two sizes"),
        ("gptq 4 bits", drop("scales"), {}, r"lacks .*up_proj\.scales"),
        ("gptq 4 bits", drop("qzeros"), {}, r"lacks .*up_proj\.qzeros"),
        ("gptq 4 bits", None, {"bits": 8}, r"up_proj\.g_idx is int32"),
        ("gptq 4 bits", None, {"bits": 5}, "says 5 bits"),
        ("gptq 4 bits", None, {"bits": "4"}, "must be int"),
        ("gptq 4 bits", None, {"group_size": 32}, r"up_proj\.scales is float16 \[4, 96\]"),
        ("gptq 4 bits", None, {"group_size": 0}, "groups of 0"),
        ("gptq 4 bits", None, {"checkpoint_format": "marlin"}, r"marlin kernel .*qzeros isn't"),
        ("gptq 4 bits", put("qweight", INT32.astype(np.float32)), {}, r"qweight is float32"),
        ("gptq 4 bits", put("g_idx", np.zeros(3, np.int32)), {}, r"g_idx is int32 \[3\]"),
        ("gptq 4 bits", put("weight", NORM), {}, "twice"),
        ("gptq 4 bits", None, {"quant_method": "awq"}, "calls for"),
        ("awq gemm", None, {"group_size": 24}, "inputs that 24 divides"),
        ("awq gemm", None, {"bits": 8}, "8-bit AWQ"),
        ("awq gemm", None, {"version": "marlin"}, r"marlin kernel .*qzeros isn't"),
        ("awq gemm", None, {"version": "gemv_fast"}, r"qweight is int32 .*int16 \[n_out / 4, n_in\]"),
        ("awq gemv_fast", drop("qzeros"), {}, r"lacks .*qzeros"),
        ("awq gemv_fast", drop("scales"), {}, r"lacks .*scales"),
        ("awq gemv_fast", None, {"group_size": 24}, "inputs that 24 divides"),
        ("awq marlin", None, {"group_size": 16}, r"scales is float16 \[2, 128\]"),
        ("awq marlin", put("qweight", INT32), {}, r"of 64 outputs each"),
        ("gptq marlin", None, {"bits": 8}, "says 8 bits, and only 4"),
        ("gptq marlin", None, {"group_size": 48}, "inputs that 48 divides"),
        ("gptq marlin", drop("s"), {}, r"lacks .*up_proj\.s"),
        ("awq gemm", drop("qzeros"), {}, r"lacks .*qzeros"),
        ("awq gemv", drop("scales"), {}, r"lacks .*scales"),
        ("fp8 blocks", drop("weight_scale_inv"), {}, "has neither"),
        ("fp8 blocks", put("weight_scale", np.ones(1, np.float32)), {}, "has both"),
        ("fp8 blocks", None, {"weight_block_size": [128, 128]}, r"weight_scale_inv is float32 \[3, 4\]"),
        ("fp8 blocks", None, {"weight_block_size": [128]}, "two sizes"),
        ("fp8 blocks", put("weight", np.zeros((4, 4), np.float16)), {}, "scales no float8 weight"),
        ("packed int4 in groups", None, {"config_groups": {}}, "no config_groups"),
        ("packed int4 in groups", drop("weight_scale"), {}, r"lacks .*weight_scale"),
        ("packed int4 in groups", put("weight_shape", np.array([96, 65], np.int64)), {}, r"says \[96, 65\]"),
        ("packed int4 in groups", put("weight_packed", INT32.astype(np.int8)), {}, "weight_packed is int8"),
        ("packed int4 in groups", None, {"format": "nvfp4-pack-quantized"}, "NVFP4 calls for"),
        ("packed int4 in groups", None, {"sparsity_config": {"format": "sparse-24"}}, "sparse-24"),
        ("packed int4 in groups", None, {"transform_config": {"config_groups": {"u": {}}}}, "rotated"),
        ("int8 per output", drop("weight"), {}, r"no .*up_proj\.weight"),
        ("int8 per output", put("weight", np.zeros((4, 4), np.float16)), {}, "float16"),
        ("gptq 4 bits", None, {"quant_method": "bitsandbytes"}, "no tensor is"),
        ("gptq 4 bits", None, {"quant_method": None, "load_in_4bit": True}, "no tensor is"),
        ("gptq 4 bits", None, {"quant_method": "hqq"}, "no tensor is"),
        ("gptq 4 bits", None, {"quant_method": "aqlm"}, "quantized by aqlm"),
        ("nf4", drop(STATE), {}, "has neither a quant_state nor an SCB"),
        ("nf4", put(STATE, np.frombuffer(b"[1, ", np.uint8)), {}, "holds no JSON"),
        ("nf4", put(STATE, np.frombuffer(b"[1]", np.uint8)), {}, "holds no settings"),
        ("nf4", put(STATE, np.frombuffer(b"{}", np.uint8)), {}, "must be two sizes"),
        ("nf4", put(STATE, np.ones(3, np.float32)), {}, "letters"),
        ("nf4", put("weight", np.ones((7, 1), np.uint8)), {}, "two numbers a byte"),
        ("nf4", put("weight.absmax", np.ones(7, np.float32)), {}, r"absmax is float32 \[7\]"),
        ("nf4", drop("weight.quant_map"), {}, r"lacks .*quant_map"),
        ("nf4, nested", drop("weight.nested_quant_map"), {}, r"lacks .*nested_quant_map"),
        ("llm.int8", put("weight_format", np.array(2, np.uint8)), {}, "in the order of a kernel"),
        ("llm.int8", put("SCB", np.ones(7, np.float32)), {}, r"SCB is float32 \[7\]"),
        ("llm.int8", drop("SCB"), {}, "has neither a quant_state nor an SCB"),
        ("hqq of 4 bits", drop("packing"), {}, r"lacks .*packing"),
        ("hqq of 4 bits", put("axis", np.array(2)), {}, "the axis 2"),
        ("hqq of 4 bits", put("view_as_float", np.array(1)), {}, "with view_as_float"),
        ("hqq of 4 bits", put("shape", np.array([96, 60])), {}, r"the numbers of \[96, 60\]"),
        ("hqq of 4 bits", put("shape", np.ones(9, np.int64)), {}, "1 to 2 numbers"),
        ("hqq of 4 bits", put("W_q", INT32), {}, "a matrix of uint8"),
        ("bitnet", drop("weight_scale"), {}, r"lacks .*weight_scale"),
        ("bitnet", put("weight_scale", np.ones(2, np.float32)), {}, "calls for one number"),
        ("bitnet", put("weight", np.ones(8, np.uint8)), {}, "calls for a matrix"),
        ("bitnet", None, {"use_rms_norm": True}, "or use_rms_norm"),
        ("modelopt nvfp4", drop("weight_scale"), {}, r"lacks .*weight_scale"),
        ("modelopt nvfp4", put("weight_scale_2", np.ones(2, np.float32)), {}, "calls for one number"),
        ("modelopt nvfp4", put("weight", np.ones((4, 4), np.uint8)), {}, "whole groups of 16"),
        ("gptq 4 bits", None, {"quant_method": "fp8"}, "no tensor is"),
    ],
)
def test_contradictions_name_what_is_wrong(
    form: str, change: Any, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        opened(form, change, **settings)


def test_a_group_that_doesnt_exist() -> None:
    source, _ = opened("gptq 4 bits", put("g_idx", np.full(N_IN, 4, np.int32)))
    with pytest.raises(CheckpointError, match=r"g_idx holds groups from 4 to 4, and there are 4"):
        source.rows(f"{LAYER}.weight", 0, 1)


def test_a_g_idx_that_was_never_filled_in() -> None:
    form = "packed int4 in groups"
    source, _ = opened(form, put("weight_g_idx", np.full(N_IN, -1, np.int32)))
    np.testing.assert_array_equal(source.rows(f"{LAYER}.weight", 0, N_OUT), FORMS[form][0].weight)


def test_scales_of_activations_are_left_out() -> None:
    source, _ = opened("fp8 per tensor", put("input_scale", np.ones(1, np.float32)))
    assert f"{LAYER}.input_scale" not in source.entries


def test_layers_of_several_schemes() -> None:
    four = compressed(N_OUT, N_IN, bits=4, strategy="group", group_size=16)
    eight = compressed(N_OUT, N_IN, bits=8, strategy="channel", seed=1)
    tensors = {f"a.up_proj.{name}": array for name, array in four.tensors.items()}
    tensors |= {f"a.down_proj.{name}": array for name, array in eight.tensors.items()}
    config = compressed_config(4, "group", group_size=16)
    config["config_groups"]["group_1"] = {
        "targets": ["re:.*down_proj"],
        "weights": {"num_bits": 8, "strategy": "channel"},
    }
    source = dequantize(MemorySource(tensors), {"quantization_config": config}, Path("nowhere"))
    np.testing.assert_array_equal(source.rows("a.up_proj.weight", 0, N_OUT), four.weight)
    np.testing.assert_array_equal(source.rows("a.down_proj.weight", 0, N_OUT), eight.weight)


def test_a_refused_source_is_closed() -> None:
    raw = MemorySource({"norm.weight": NORM, "x.qweight": INT32})
    with pytest.raises(CheckpointError, match="says None bits"):
        dequantize(raw, {"quantization_config": {"quant_method": "gptq"}}, Path("nowhere"))
    assert raw.closed
