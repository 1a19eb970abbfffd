"""LoRA adapters of `models.doctor.tiny_model` as GGUF files, good and bad, written with gguf's own writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.doctor.tiny_model import TinyModel, tensor_shapes

Array = npt.NDArray[Any]
TARGETS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def adapter_tensors(
    *, seed: int = 1, rank: int = 4, size: float = 1.0, targets: tuple[str, ...] = TARGETS
) -> dict[str, Array]:
    """A pair for each target of each layer of the tiny model; `size`: about a weight's own share of an output
    at alpha == rank."""
    random = np.random.Generator(np.random.PCG64(seed))
    tensors: dict[str, Array] = {}
    for name, shape in tensor_shapes(TinyModel(), 320).items():
        if name.startswith("blk.") and name.split(".")[2] in targets:
            n_out, n_in = shape
            a = random.standard_normal((rank, n_in)) / np.sqrt(n_in)
            b = random.standard_normal((n_out, rank)) * size / np.sqrt(rank)
            tensors |= {f"{name}.lora_a": a.astype(np.float32), f"{name}.lora_b": b.astype(np.float32)}
    return tensors


def write_adapter_gguf(
    path: Path,
    tensors: Mapping[str, Array] | None = None,
    *,
    alpha: float | None = 4.0,
    kind: str | None = "adapter",
    adapter_type: str | None = "lora",
    architecture: str = "llama",
    more: Callable[[Any], None] | None = None,
) -> Path:
    """`more` may add other keys to the writer. Returns `path`."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    if kind is not None:
        writer.add_string("general.type", kind)
    if adapter_type is not None:
        writer.add_string("adapter.type", adapter_type)
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    if more is not None:
        more(writer)
    for name, data in (adapter_tensors() if tensors is None else tensors).items():
        writer.add_tensor(name, np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
