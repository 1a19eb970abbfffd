"""Apertus: norms of each head's query and key, a feed-forward without gate, and the activation xIELU.

xIELU has four numbers in each layer, which a checkpoint has as tensors and a GGUF file as keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.rope import Rope
from quantize.architectures.families.llama import Llama
from quantize.architectures.families.qwen3 import HeadNorms
from quantize.gguf.header import Metadata, ValueType, array

XIELU: Final = ("alpha_n", "alpha_p", "beta", "eps")
"""The names of the activation's numbers, in checkpoints and in files."""

ROPE: Final = {
    "rope_type": "llama3",
    "rope_theta": 12000000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
"""The rotary settings where config.json is silent."""


class Apertus(HeadNorms, Llama):
    """ApertusForCausalLM."""

    gguf_name = "apertus"
    huggingface_names: ClassVar[tuple[str, ...]] = ("ApertusForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **Llama.defaults,
        "vocab_size": 131072,
        "intermediate_size": 14336,
        "max_position_embeddings": 65536,
    }
    default_theta = 12000000.0
    default_epsilon = 1e-5
    needs_output = True
    norms: ClassVar[Mapping[str, str]] = {
        "attn_norm": "attention_layernorm",
        "ffn_norm": "feedforward_layernorm",
    }
    activations: ClassVar[tuple[str, ...]] = ("xielu",)
    feed_forward: ClassVar[tuple[str, ...]] = ("ffn_up", "ffn_down")
    biases: ClassVar[dict[str, tuple[str, bool]]] = {
        part: flag for part, flag in Llama.biases.items() if flag[0] == "attention_bias"
    }
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    rotates_neighbours = False

    def _read_rope(self) -> Rope:
        return Rope.of_or_assumed(self.config, ROPE, self.default_theta)

    @property
    def value_names(self) -> frozenset[str]:
        return frozenset(name for part in XIELU for name in self._numbers(part))

    def value_metadata(self, values: Mapping[str, float]) -> Metadata:
        return {
            f"xielu.{part}": array(ValueType.FLOAT32, [values[name] for name in self._numbers(part)])
            for part in XIELU
        }

    def _numbers(self, part: str) -> list[str]:
        return [f"model.layers.{i}.mlp.act_fn.{part}" for i in range(self.hyperparameters.n_layer)]
