"""The architecture of a base model, told from its GGUF file: a PEFT adapter comes without config.json.

Only what a family's tensor rules ask for is put back into that file's words; the numbers are the GGUF's own.
"""

from __future__ import annotations

from typing import Any

from models.errors import CheckpointError, UnknownArchitecture
from models.gguf.info import GGUFInfo
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.registry import ARCHITECTURES


def architecture_of_gguf(base: GGUFInfo) -> Architecture:
    """The first family that writes this architecture. Raises UnknownArchitecture, or CheckpointError."""
    for family in ARCHITECTURES:
        if getattr(family, "gguf_name", None) == base.architecture:  # some choose it by their configuration
            return family(ModelConfig(_config(base), base.path.name))
    known = ", ".join(sorted({family.gguf_name for family in ARCHITECTURES if hasattr(family, "gguf_name")}))
    raise UnknownArchitecture(
        f"{base.path.name} has the architecture {base.architecture}, and PEFT adapters can be converted here"
        f" for {known} only; use llama.cpp's convert_lora_to_gguf.py and give the GGUF file"
    )


def _config(base: GGUFInfo) -> dict[str, Any]:
    names = {tensor.name: tensor.shape for tensor in base.tensors}
    n_head, n_head_kv = _same(base, "attention.head_count"), _same(base, "attention.head_count_kv")
    embedding = names.get("token_embd.weight")
    return {
        "hidden_size": base.n_embd,
        "intermediate_size": _same(base, "feed_forward_length"),
        "num_hidden_layers": base.n_layer,
        "num_attention_heads": n_head,
        "num_key_value_heads": n_head if n_head_kv is None else n_head_kv,
        "head_dim": base.hyperparameter("attention.key_length"),
        "vocab_size": None if embedding is None else embedding[-1],
        "max_position_embeddings": base.n_ctx_train,
        "tie_word_embeddings": "output.weight" not in names,
    }


def _same(base: GGUFInfo, key: str) -> int | None:
    """A number that all layers share; None if the file doesn't say."""
    values = set(base.per_layer(key))
    if len(values) > 1:
        raise CheckpointError(
            f"{base.path.name} has layers of different {key}, which PEFT adapters can't be converted for here"
        )
    value = values.pop() if values else None
    return value if isinstance(value, int) else None
