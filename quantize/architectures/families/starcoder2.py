"""StarCoder2: norms with shifts, a feed-forward without gate, biases everywhere.

Its sliding window (4,096 tokens) has no place in llama.cpp's `starcoder2`, which attends to everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import GELU_TANH, Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata


class StarCoder2(Decoder):
    """Starcoder2ForCausalLM."""

    gguf_name = "starcoder2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Starcoder2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 49152,
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_hidden_layers": 30,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    }
    default_tied = True
    null_kv_heads = False
    epsilon_names = ("norm_epsilon",)
    activations = GELU_TANH

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not config.flag("use_bias", True):
            raise CheckpointError("config.json has use_bias false; llama.cpp's `starcoder2` needs the biases")

    def metadata(self) -> Metadata:
        keys = self.size_metadata() | self.epsilon_metadata("layer_norm_epsilon")
        return keys | self.rope.metadata(self.gguf_name, self.context_length)

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(norm_bias=True)
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, bias=True)
            rules += self.attention_rules(source, target, qkv_bias=True, output_bias=True)
            second = f"{source}.post_attention_layernorm"
            rules += norm_rules(f"{target}.ffn_norm", second, h.n_embd, bias=True)
            rules += linear_rules(f"{target}.ffn_up", f"{source}.mlp.c_fc", (h.n_ff, h.n_embd), bias=True)
            rules += linear_rules(f"{target}.ffn_down", f"{source}.mlp.c_proj", (h.n_embd, h.n_ff), bias=True)
        return rules
