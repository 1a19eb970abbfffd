"""SmolLM3: Llama without rotation in every fourth layer."""

from __future__ import annotations

from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import QKV, HeadDimKeys
from quantize.architectures.families.llama import Llama

UNROTATED_PERIOD = 4
"""Every layer at a multiple of this number has no rotation, fixed in llama.cpp."""


class SmolLM3(Llama):
    """SmolLM3ForCausalLM."""

    gguf_name = "smollm3"
    huggingface_names: ClassVar[tuple[str, ...]] = ("SmolLM3ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
    }
    default_theta = 2e6
    default_tied = True
    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(QKV, ("attention_bias", False))
    has_rope_factors = False
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    refused_flags: ClassVar[dict[str, str]] = {"use_sliding_window": "attends to everything"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_layer = self.hyperparameters.n_layer
        period = config.size("no_rope_layer_interval", UNROTATED_PERIOD)
        rotated = config.numbers("no_rope_layers") or _pattern(n_layer, period)
        if rotated != _pattern(n_layer, UNROTATED_PERIOD):
            raise CheckpointError(
                "config.json has other no_rope_layers than every fourth; llama.cpp's `smollm3` has those only"
            )


def _pattern(n_layer: int, period: int) -> tuple[float, ...]:
    """Return for each layer 1 if it rotates, else 0, as config.json has it."""
    return tuple(float((layer + 1) % period != 0) for layer in range(n_layer))
