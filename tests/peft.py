"""PEFT LoRA adapters of pico checkpoints, made with numpy, and what they mean: the base's weights with them
merged in. The meaning is written down here from PEFT's definition, and knows nothing of GGUF."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quantize.checkpoint.safetensors import SafetensorsSource
from tests.pico import NUMPY_DTYPES, Dtype, write_json, write_safetensors

Array = npt.NDArray[Any]

ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
ALL_LINEAR = (*ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
PREFIX = "base_model.model."


def write_peft_adapter(
    folder: Path,
    base: Path,
    *,
    seed: int = 1,
    rank: int = 4,
    alpha: float = 8,
    modules: Sequence[str] = ALL_LINEAR,
    others: Sequence[str] = (),
    dtype: Dtype = "F32",
    size: float = 1.0,
    ranks: Mapping[str, int] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Path:
    """Write adapter_config.json and adapter_model.safetensors for the checkpoint in `base`; returns `folder`.

    `modules` are changed in every layer; `others` are whole module paths (`lm_head`, `model.embed_tokens`).
    `size` is about how much a change adds to an output, relative to the weight's own. `ranks`: rank_pattern,
    by module path. `fields` go into the config, and mean nothing here but for `tensors`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shapes = shapes_of(base)
    config = json.loads((base / "config.json").read_text())
    paths = [f"model.layers.{n}.{module}" for n in range(config["num_hidden_layers"]) for module in modules]
    random = np.random.Generator(np.random.PCG64(seed))
    tensors: dict[str, Array] = {}
    for path in [*paths, *others]:
        n_out, n_in = shapes[f"{path}.weight"]
        r = (ranks or {}).get(path, rank)
        a = random.standard_normal((r, n_in)) / math.sqrt(n_in)
        b = random.standard_normal((n_out, r)) * size * math.sqrt(r) / alpha
        if path.endswith("embed_tokens"):
            a = random.standard_normal((r, n_out))
            b = random.standard_normal((n_in, r)) * size * math.sqrt(r) / alpha
            names = (f"{PREFIX}{path}.lora_embedding_A", f"{PREFIX}{path}.lora_embedding_B")
        else:
            names = (f"{PREFIX}{path}.lora_A.weight", f"{PREFIX}{path}.lora_B.weight")
        tensors |= {
            name: value.astype(NUMPY_DTYPES[dtype]) for name, value in zip(names, (a, b), strict=True)
        }
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    full = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "pico/base",
        "bias": "none",
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": dict(ranks or {}),
        "alpha_pattern": {},
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "target_modules": sorted({path.rsplit(".", 1)[-1] for path in [*modules, *others]}),
        **(fields or {}),
    }
    write_json(folder / "adapter_config.json", full)
    return folder


def write_merged_checkpoint(target: Path, base: Path, adapters: Sequence[tuple[Path, float]]) -> Path:
    """A copy of `base` (F32) with adapters merged in, each with its scale; returns `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            (target / file.name).write_bytes(file.read_bytes())
    tensors = {
        name: value.astype(np.float64) for name, value in read_tensors(base / "model.safetensors").items()
    }
    for folder, scale in adapters:
        for name, change in changes(folder).items():
            tensors[name] += scale * change
    narrowed = {name: value.astype(np.float32) for name, value in tensors.items()}
    write_safetensors(target / "model.safetensors", narrowed)
    return target


def changes(folder: Path) -> dict[str, Array]:
    """What an adapter adds to each weight [n_out, n_in], by the weight's name."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = read_tensors(folder / "adapter_model.safetensors")
    found: dict[str, Array] = {}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            path = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            b = tensors[name.replace("lora_A", "lora_B")]
            change = b.astype(np.float64) @ a.astype(np.float64)
        elif name.endswith(".lora_embedding_A"):
            path = name.removeprefix(PREFIX).removesuffix(".lora_embedding_A")
            b = tensors[name.replace("lora_embedding_A", "lora_embedding_B")]
            change = (b.astype(np.float64) @ a.astype(np.float64)).T
        else:
            continue
        alpha = config["lora_alpha"]
        for key, own in config["alpha_pattern"].items():
            alpha = own if path == key or path.endswith(f".{key}") else alpha
        rank = a.shape[0]
        found[f"{path}.weight"] = change * alpha / (math.sqrt(rank) if config["use_rslora"] else rank)
    return found


def read_tensors(path: Path) -> dict[str, Array]:
    source = SafetensorsSource([path])
    try:
        return {name: source.rows(name, 0, entry.shape[0]) for name, entry in source.entries.items()}
    finally:
        source.close()


def shapes_of(base: Path) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in read_tensors(base / "model.safetensors").items()}
