"""Pico checkpoints in every form, each beside a plain F32 one that means the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from quantize.checkpoint.json_file import read_json_object
from tests.pico import pico_tensors, write_json, write_pico_checkpoint
from tests.quantize.checkpoint.quantized_layers import (
    Quantized,
    awq,
    bitnet,
    compressed,
    eight_bits_of_bitsandbytes,
    four_bits_of_bitsandbytes,
    fp8,
    gptq,
    hqq,
    nvfp4,
)
from tests.quantize.checkpoint.torch_files import write_tensors
from tests.quantize.checkpoint.write_tensors import write_any_safetensors

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Form:
    """A form of checkpoint.

    `layer` makes a linear layer of [n_out, n_in] and a seed, unless None; `write` fills a folder.
    """

    settings: dict[str, Any] | None = None
    layer: Callable[[int, int, int], Quantized] | None = None
    write: Callable[[Path, Tensors], object] = lambda folder, tensors: write_any_safetensors(
        folder / "model.safetensors", tensors
    )


def _gptq(**how: Any) -> Callable[[int, int, int], Quantized]:
    return lambda n_out, n_in, seed: gptq(n_out, n_in, seed=seed, **how)


def _gptq_settings(bits: int, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": False, "sym": False, **more}


def _compressed_settings(layout: str, **weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": groups}


def _shards(folder: Path, tensors: Tensors) -> None:
    names = list(tensors)
    weight_map = {}
    for i, half in enumerate((names[::2], names[1::2]), start=1):
        shard = f"pytorch_model-{i:05d}-of-00002.bin"
        write_tensors(folder / shard, {name: tensors[name] for name in half})
        weight_map.update(dict.fromkeys(half, shard))
    write_json(folder / "pytorch_model.bin.index.json", {"weight_map": weight_map})


def _with_what_is_not_needed(folder: Path, tensors: Tensors) -> None:
    """Write what quantizers add: a zero bias without a place, scales of the KV cache, a bare index."""
    layer = "model.layers.0"
    zeros = {"lm_head.bias": np.zeros(len(tensors["lm_head.weight"]), np.float16)}
    scales = {f"{layer}.self_attn.{name}_scale": np.ones(1, np.float32) for name in "kv"}
    of_rope = ("inv_freq", "original_inv_freq", "cos_cached", "sin_cached")
    buffers = {f"{layer}.self_attn.rotary_emb.{name}": np.ones(16, np.float32) for name in of_rope}
    shard = "model-00001-of-00001.safetensors"
    write_any_safetensors(folder / shard, tensors | zeros | scales | buffers)
    weight_map = dict.fromkeys(list(tensors)[1:], shard) | {"gone.weight": shard}
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


def _with_modelopts_settings(folder: Path, tensors: Tensors) -> None:
    write_any_safetensors(folder / "model.safetensors", tensors)
    write_json(
        folder / "hf_quant_config.json",
        {
            "producer": {"name": "modelopt"},
            "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]},
        },
    )


def _gptq_by_module(n_out: int, n_in: int, seed: int) -> Quantized:
    """Make the layer with 96 inputs, which is down_proj alone, with 8 bits."""
    return gptq(n_out, n_in, bits=8 if n_in == 96 else 4, group_size=32, seed=seed)


def _hqq(bits: int, axis: int) -> Callable[[int, int, int], Quantized]:
    return lambda n_out, n_in, seed: hqq(n_out, n_in, bits=bits, axis=axis, seed=seed)


def _bitsandbytes(*, nested: bool) -> Form:
    return Form(
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        lambda n_out, n_in, seed: four_bits_of_bitsandbytes(n_out, n_in, nested=nested, seed=seed),
    )


FORMS: dict[str, Form] = {
    "torch zip": Form(write=lambda folder, tensors: write_tensors(folder / "pytorch_model.bin", tensors)),
    "torch legacy": Form(
        write=lambda folder, tensors: write_tensors(folder / "pytorch_model.bin", tensors, legacy=True)
    ),
    "torch pth": Form(write=lambda folder, tensors: write_tensors(folder / "consolidated.00.pth", tensors)),
    "torch shards": Form(write=_shards),
    **{
        f"gptq {bits}": Form(_gptq_settings(bits), _gptq(bits=bits, group_size=32, lowest_zero=1))
        for bits in (2, 3, 4, 8)
    },
    **{
        f"gptq {bits} with zeros of 0": Form(_gptq_settings(bits), _gptq(bits=bits, group_size=32))
        for bits in (2, 3, 4, 8)
    },
    "gptq with biases and scales of nothing": Form(
        _gptq_settings(4), _gptq(bits=4, group_size=32), _with_what_is_not_needed
    ),
    "gptq by module": Form(
        _gptq_settings(4, dynamic={".*down_proj": {"bits": 8}, "-:lm_head": {}}), _gptq_by_module
    ),
    "fp8 of modelopt": Form(
        None,
        lambda n_out, n_in, seed: fp8(n_out, n_in, seed=seed),
        _with_modelopts_settings,
    ),
    "gptq act-order": Form(
        _gptq_settings(4, desc_act=True), _gptq(bits=4, group_size=32, act_order=True, sym=True)
    ),
    "gptq v2": Form(_gptq_settings(4, checkpoint_format="gptq_v2"), _gptq(bits=4, group_size=32, v2=True)),
    "gptq without g_idx": Form(_gptq_settings(4), _gptq(bits=4, group_size=32, g_idx=False)),
    "gptq in torch's file": Form(
        _gptq_settings(4),
        _gptq(bits=4, group_size=32),
        lambda folder, tensors: write_tensors(folder / "pytorch_model.bin", tensors),
    ),
    "awq": Form(
        {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True},
        lambda n_out, n_in, seed: awq(n_out, n_in, group_size=32, seed=seed),
    ),
    "awq gemv": Form(
        {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv", "zero_point": True},
        lambda n_out, n_in, seed: awq(n_out, n_in, group_size=32, gemv=True, seed=seed),
    ),
    "fp8 blocks": Form(
        {"quant_method": "fp8", "weight_block_size": [32, 32]},
        lambda n_out, n_in, seed: fp8(n_out, n_in, block=(32, 32), seed=seed),
    ),
    "fp8 e5m2": Form(
        {"quant_method": "fp8"},
        lambda n_out, n_in, seed: fp8(n_out, n_in, dtype=ml_dtypes.float8_e5m2, seed=seed),
    ),
    "compressed packed": Form(
        _compressed_settings("pack-quantized", num_bits=4, strategy="group", group_size=32, type="int"),
        lambda n_out, n_in, seed: compressed(
            n_out, n_in, bits=4, strategy="group", group_size=32, asymmetric=True, seed=seed
        ),
    ),
    "compressed int8": Form(
        _compressed_settings("int-quantized", num_bits=8, strategy="channel", type="int"),
        lambda n_out, n_in, seed: compressed(
            n_out, n_in, bits=8, strategy="channel", packed=False, seed=seed
        ),
    ),
    "compressed float8": Form(
        _compressed_settings("float-quantized", num_bits=8, strategy="channel", type="float"),
        lambda n_out, n_in, seed: fp8(n_out, n_in, per_output=True, seed=seed),
    ),
    "bitsandbytes nf4": _bitsandbytes(nested=False),
    "bitsandbytes nf4, nested": _bitsandbytes(nested=True),
    "bitsandbytes int8": Form(
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        lambda n_out, n_in, seed: eight_bits_of_bitsandbytes(n_out, n_in, seed=seed),
    ),
    **{
        f"hqq {bits}": Form({"quant_method": "hqq", "quant_config": {}}, _hqq(bits, axis))
        for bits, axis in ((1, 1), (2, 1), (3, 1), (4, 0), (8, 1))
    },
    "bitnet": Form({"quant_method": "bitnet"}, lambda n_out, n_in, seed: bitnet(n_out, n_in, seed=seed)),
    "bitnet, multiplied": Form(
        {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"},
        lambda n_out, n_in, seed: bitnet(n_out, n_in, multiplies=True, seed=seed),
    ),
    "nvfp4 of modelopt": Form(
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        lambda n_out, n_in, seed: nvfp4(n_out, n_in, is_divisor=False, seed=seed),
    ),
    "compressed nvfp4": Form(
        _compressed_settings("nvfp4-pack-quantized", num_bits=4, strategy="tensor_group", group_size=16),
        lambda n_out, n_in, seed: nvfp4(n_out, n_in, is_divisor=True, seed=seed),
    ),
}


def write_form(form: Form, folder: Path, intermediate_size: int = 96) -> tuple[Path, Path]:
    """Write the checkpoint in the form, and the plain one. Return `folder`/form and `folder`/plain."""
    plain = write_pico_checkpoint(
        folder / "plain", n_layers=1, hidden=64, dtype="F32", config={"intermediate_size": intermediate_size}
    )
    config = read_json_object(plain / "config.json")
    meant: Tensors = dict(pico_tensors(config, seed=0, dtype="F32"))
    stored: Tensors = {}
    for seed, (name, array) in enumerate(list(meant.items())):
        if form.layer is None or "_proj" not in name:
            stored[name] = array
            continue
        layer = form.layer(array.shape[0], array.shape[1], seed)
        meant[name] = layer.weight
        prefix = name.removesuffix("weight")
        stored |= {prefix + part: values for part, values in layer.tensors.items()}
    write_any_safetensors(plain / "model.safetensors", meant)
    quantized = folder / "form"
    shutil.copytree(plain, quantized)
    (quantized / "model.safetensors").unlink()
    if form.settings is not None:
        write_json(quantized / "config.json", {**config, "quantization_config": form.settings})
    form.write(quantized, stored)
    return quantized, plain
