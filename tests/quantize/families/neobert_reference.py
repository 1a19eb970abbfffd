"""NeoBERT in numpy, by its makers' code: neither transformers nor llama.cpp's converter knows it rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quantize.checkpoint.checkpoint import Checkpoint
from tests.quantize.families.encoder_golden import BEGINNINGS, golden_scores
from tests.quantize.families.generation_golden import N_TOKENS, PROMPT, golden_generation

Array = npt.NDArray[np.float64]


def record(directory: Path) -> dict[str, Any]:
    """Return the vectors of the fixed prompt, or a classifier's scores of its beginnings."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    with Checkpoint.open(directory) as checkpoint:
        source = checkpoint.tensors
        weights = {
            name.removeprefix("model."): source.rows(name, 0, entry.shape[0]).astype(np.float64)
            for name, entry in source.entries.items()
        }
    if "classifier.weight" not in weights:
        rows = _vectors(weights, config, PROMPT)
        return {"by": "numpy", **golden_generation([int(row.argmax()) for row in rows[:N_TOKENS]], rows[-1])}
    scores = [_scores(weights, _vectors(weights, config, PROMPT[:n])[0]) for n in BEGINNINGS]
    return {"by": "numpy", **golden_scores(np.stack(scores))}


def _scores(weights: dict[str, Array], first: Array) -> Array:
    dense = np.tanh(weights["dense.weight"] @ first + weights["dense.bias"])
    found: Array = weights["classifier.weight"] @ dense + weights["classifier.bias"]
    return found


def _vectors(weights: dict[str, Array], config: dict[str, Any], tokens: list[int]) -> Array:
    epsilon, n_head = config["norm_eps"], config["num_attention_heads"]
    x = weights["encoder.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        part = {
            name.removeprefix(f"transformer_encoder.{layer}."): values for name, values in weights.items()
        }
        x = x + _attention(_norm(x, part["attention_norm.weight"], epsilon), part, n_head)
        gate, up = np.split(_norm(x, part["ffn_norm.weight"], epsilon) @ part["ffn.w12.weight"].T, 2, axis=-1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ part["ffn.w3.weight"].T
    return _norm(x, weights["layer_norm.weight"], epsilon)


def _norm(x: Array, weight: Array, epsilon: float) -> Array:
    normed: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight
    return normed


def _attention(x: Array, part: dict[str, Array], n_head: int) -> Array:
    n_tokens = len(x)
    heads = (x @ part["qkv.weight"].T).reshape(n_tokens, n_head, -1)
    q, k, v = (values.swapaxes(0, 1) for values in np.split(heads, 3, axis=-1))
    q, k = _rotated(q), _rotated(k)
    logits = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    mixed = shares / shares.sum(-1, keepdims=True) @ v
    made: Array = mixed.swapaxes(0, 1).reshape(n_tokens, -1) @ part["wo.weight"].T
    return made


def _rotated(heads: Array) -> Array:
    """Rotate neighbours: numbers 0 and 1, 2 and 3 …, as complex ones."""
    size = heads.shape[-1]
    angles = np.arange(heads.shape[1])[:, None] / 10000.0 ** (np.arange(0, size, 2) / size)
    turned = heads.reshape(*heads.shape[:-1], -1, 2).view(np.complex128)[..., 0] * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(heads.shape)
