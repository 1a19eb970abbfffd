"""What is written means what the checkpoint means: llama.cpp's logits equal those of a Llama in numpy.

The numpy model follows the Llama paper and the Hugging Face layout (halves of a head rotated against each
other), and knows nothing of GGUF, so a wrong permutation, a swapped tensor or a lost rope scaling shows here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.pico import pico_tensors, write_pico_checkpoint
from tests.quantize.quantize_folder import quantize_folder
from tests.quantize.variants import LLAMA3_SCALING

pytestmark = pytest.mark.model

Array = npt.NDArray[np.float64]
TOKENS = [5, 300, 17, 42, 42, 399, 0, 120, 65, 251, 8, 77, 301, 256, 33, 90, 12, 404, 5, 300, 61, 9, 200, 150]


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    normed: Array = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * weight
    return normed


def inverse_frequencies(config: dict[str, Any], head_dim: int) -> Array:
    frequencies = config["rope_theta"] ** -(np.arange(0, head_dim, 2) / head_dim)
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type", scaling.get("type")) == "linear":
        return np.asarray(frequencies / scaling["factor"])
    if scaling.get("rope_type") == "llama3":
        waves = scaling["original_max_position_embeddings"] * frequencies / (2 * np.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        kept = np.clip((waves - low) / (high - low), 0.0, 1.0)
        return np.asarray(frequencies * (kept + (1 - kept) / scaling["factor"]))
    return np.asarray(frequencies)


def rotate(x: Array, frequencies: Array) -> Array:
    """`x` [n_tokens, n_heads, head_dim], the first half of each head against the second."""
    angles = np.outer(np.arange(len(x)), frequencies)[:, None, :]
    a, b = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def numpy_llama(config: dict[str, Any], tensors: dict[str, Array], tokens: list[int]) -> Array:
    """Logits [n_tokens, n_vocab] of a Hugging Face checkpoint's tensors."""
    n_head, n_kv = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // n_head
    epsilon, n = config["rms_norm_eps"], len(tokens)
    frequencies = inverse_frequencies(config, head_dim)
    mask = np.triu(np.full((n, n), -np.inf), 1)
    x = tensors["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."

        def linear(name: str, value: Array, prefix: str = prefix) -> Array:
            out: Array = value @ tensors[f"{prefix}{name}.weight"].T
            return out + tensors.get(f"{prefix}{name}.bias", np.zeros(1))

        h = rms_norm(x, tensors[f"{prefix}input_layernorm.weight"], epsilon)
        q = rotate(linear("self_attn.q_proj", h).reshape(n, n_head, head_dim), frequencies)
        k = rotate(linear("self_attn.k_proj", h).reshape(n, n_kv, head_dim), frequencies)
        v = linear("self_attn.v_proj", h).reshape(n, n_kv, head_dim)
        k, v = (np.repeat(part, n_head // n_kv, axis=1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head_dim) + mask
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        x = x + linear("self_attn.o_proj", np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1))
        h = rms_norm(x, tensors[f"{prefix}post_attention_layernorm.weight"], epsilon)
        gate = linear("mlp.gate_proj", h)
        x = x + linear("mlp.down_proj", gate / (1 + np.exp(-gate)) * linear("mlp.up_proj", h))
    x = rms_norm(x, tensors["model.norm.weight"], epsilon)
    logits: Array = x @ tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"]).T
    return logits


def llama_cpp_logits(path: Path, tokens: list[int]) -> npt.NDArray[np.float32]:
    with Model.load(path, use_extra_bufts=False) as model:
        context = Context(
            model,
            n_ctx=64,
            n_batch=64,
            n_ubatch=64,
            n_threads=1,
            flash_attn="off",
            type_k="f32",
            type_v="f32",
        )
        try:
            batch = TokenBatch(64)
            batch.add_many(tokens, 0, 0, output_last=True, output_all=True)
            context.decode(batch)
            return context.logits().copy()
        finally:
            context.close()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"tie": True, "kv_heads": 1},
        {"config": {"head_dim": 32, "attention_bias": True}},
        {"config": {"rope_scaling": {"type": "linear", "factor": 4.0}}},
        {"config": {"rope_theta": 500000.0, "rope_scaling": LLAMA3_SCALING}},
        {"config": {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}},
    ],
    ids=["gqa", "tied", "head-dim-bias", "linear", "llama3", "mistral"],
)
def test_logits_are_those_of_the_checkpoint(arguments: dict[str, Any], tmp_path: Path) -> None:
    import json

    directory = write_pico_checkpoint(tmp_path / "pico", dtype="F32", **arguments)
    (file,) = quantize_folder(directory, ["F32"], tmp_path)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    tensors = {
        name: tensor.astype(np.float64) for name, tensor in pico_tensors(config, seed=0, dtype="F32").items()
    }
    expected = numpy_llama(config, tensors, TOKENS)
    logits = llama_cpp_logits(file.path, TOKENS)
    assert expected.std() > 0.5
    np.testing.assert_allclose(logits, expected, atol=2e-3)
