"""A pico checkpoint: a Hugging Face folder of a tiny random Llama, made with numpy, always the same.

Used by every test that needs the real chain (checkpoint → quantize → llama.cpp) without weights from
anywhere. The numbers come from PCG64's raw bits, whose stream never changes, so sha256 values of what is
made from them can be kept in the repository. `tests/pico_tokenizer.py` holds the tokenizers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tests.pico_tokenizer import write_bpe_tokenizer, write_spm_tokenizer

Dtype = Literal["F32", "F16", "BF16"]
NUMPY_DTYPES: dict[str, npt.DTypeLike] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
SAFETENSORS_NAMES: dict[np.dtype[Any], str] = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.int64): "I64",
    np.dtype(ml_dtypes.float8_e4m3fn): "F8_E4M3",
}


def write_pico_checkpoint(
    directory: Path,
    *,
    seed: int = 0,
    dtype: Dtype = "F16",
    n_layers: int = 2,
    hidden: int = 256,
    heads: int = 4,
    kv_heads: int = 2,
    tokenizer: Literal["bpe", "spm"] = "bpe",
    sharded: bool = False,
    tie: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write config.json, safetensors (if `sharded` two, and an index), the tokenizer; returns `directory`.

    `config` is laid over config.json: `architectures`, `rope_scaling`, `attention_bias`, `head_dim`,
    `intermediate_size`, `vocab_size` (at least the tokenizer's: the rest is padding) have the effect on the
    tensors that they have in a real checkpoint.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if tokenizer == "bpe":
        n_tokens, bos, eos = write_bpe_tokenizer(directory)
    else:
        n_tokens, bos, eos = write_spm_tokenizer(directory)
    full: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": 512,
        "num_hidden_layers": n_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tie,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype],
        "vocab_size": n_tokens,
        "bos_token_id": bos,
        "eos_token_id": eos,
        **(config or {}),
    }
    write_json(directory / "config.json", full)
    tensors = pico_tensors(full, seed=seed, dtype=dtype)
    if not sharded:
        write_safetensors(directory / "model.safetensors", tensors)
        return directory
    names = list(tensors)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    weight_map: dict[str, str] = {}
    for i, half in enumerate(halves, start=1):
        file_name = f"model-{i:05d}-of-00002.safetensors"
        write_safetensors(directory / file_name, {name: tensors[name] for name in half})
        weight_map.update(dict.fromkeys(half, file_name))
    total = sum(t.nbytes for t in tensors.values())
    write_json(
        directory / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": weight_map},
    )
    return directory


def pico_tensors(config: Mapping[str, Any], *, seed: int, dtype: Dtype) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a Llama of that config by their Hugging Face names, in the order of the layers."""
    hidden, ff, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    n_q, n_kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    linear: dict[str, tuple[int, int]] = {
        "self_attn.q_proj": (n_q, hidden),
        "self_attn.k_proj": (n_kv, hidden),
        "self_attn.v_proj": (n_kv, hidden),
        "self_attn.o_proj": (hidden, n_q),
        "mlp.gate_proj": (ff, hidden),
        "mlp.up_proj": (ff, hidden),
        "mlp.down_proj": (hidden, ff),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
        for name, shape in linear.items():
            shapes[f"{prefix}.{name}.weight"] = shape
            if config.get("attention_bias") and name.startswith("self_attn"):
                shapes[f"{prefix}.{name}.bias"] = shape[:1]
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    bits = np.random.PCG64(seed)
    return {name: _values(bits, name, shape, dtype) for name, shape in shapes.items()}


def _values(bits: np.random.PCG64, name: str, shape: tuple[int, ...], dtype: Dtype) -> npt.NDArray[Any]:
    """Bell-shaped values: each is the sum of four 16-bit uniforms, exact in f32 before it is scaled."""
    raw = np.asarray(bits.random_raw(int(np.prod(shape))))
    quarters = raw.view(np.uint16).reshape(-1, 4)
    sums = quarters[:, 0].astype(np.int32)
    for column in (1, 2, 3):  # quicker than summing along so short an axis
        sums += quarters[:, column]
    values = (sums - 4 * 32768).astype(np.float32) * np.float32(2.0**-15)  # standard deviation 2/sqrt(3)
    if name.endswith("norm.weight"):
        values = np.float32(1.0) + values * np.float32(0.0625)
    elif len(shape) == 2 and "embed" not in name:
        values = values * np.float32(2.0 ** -round(np.log2(shape[1]) / 2))  # about 1/sqrt(fan in)
    elif name.endswith(".bias"):
        values = values * np.float32(0.125)
    narrowed: npt.NDArray[Any] = values.reshape(shape).astype(NUMPY_DTYPES[dtype])
    return narrowed


def write_safetensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """The format as its specification has it: u64 header length, JSON header padded with spaces, the data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": SAFETENSORS_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).tobytes())


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
