"""Falcon 7B, 40B, 180B and 11B: attention and feed-forward side by side, few key-value heads.

Falcon-RW, with its biases and linear attention biases (ALiBi), is not part of llama.cpp's `falcon`; Falcon 3
is a Llama.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike, fused_qkv
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata, string, uint32


class Falcon(GPTLike):
    """FalconForCausalLM, and RWForCausalLM with the older names.

    The context length and the rotation's base are config.json's, where the converter writes 2048 and none.
    """

    gguf_name = "falcon"
    huggingface_names: ClassVar[tuple[str, ...]] = ("FalconForCausalLM", "RWForCausalLM")
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size",),
        "n_head": ("num_attention_heads", "n_head"),
        "n_layer": ("num_hidden_layers", "n_layer"),
        "context": ("max_position_embeddings",),
    }
    older_names: ClassVar[dict[str, str]] = {"n_embd": "n_embed"}
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 4544,
        "n_head": 71,
        "n_layer": 32,
        "context": 2048,
        "n_vocab": 65024,
    }
    activation_name = "activation"

    def __init__(self, config: ModelConfig) -> None:
        self.is_grouped = config.optional_flag("new_decoder_architecture", config.has("n_head_kv"))
        super().__init__(config)
        self.refuse(config.optional_flag("alibi", False), "linear attention biases (alibi)")
        self.refuse(config.optional_flag("bias", False), "biases")
        parallel = self.is_grouped or config.optional_flag("parallel_attn", True)
        self.refuse(not parallel, "feed-forward layers after attention, not beside it")
        self.rope = Rope.of(config)
        self.rope.refuse_factors(self.gguf_name)

    def kv_heads(self, n_head: int) -> int:
        config = self.config
        if self.is_grouped:
            return config.optional_size("num_kv_heads") or config.optional_size("n_head_kv") or n_head
        return 1 if config.optional_flag("multi_query", True) else n_head

    def feed_forward(self, n_embd: int) -> int:
        return self.config.optional_size("ffn_hidden_size") or 4 * n_embd

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        return {
            **self.size_metadata(),
            f"{prefix}.attention.head_count_kv": uint32(self.hyperparameters.n_head_kv),
            f"{prefix}.tensor_data_layout": string("jploski"),  # q, k and v apart, as in that fork of ggml
            **self.rope.metadata_unless_default(self.gguf_name, self.context_length),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules("transformer.ln_f")
        for layer in range(self.hyperparameters.n_layer):
            rules += self._layer_rules(f"transformer.h.{layer}", f"blk.{layer}")
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        qkv = fused_qkv(h.n_head, h.n_head_kv, self.head_dim)
        attention, mlp = f"{source}.self_attention", f"{source}.mlp"
        norms = {"attn_norm": "input_layernorm"}
        if self.is_grouped and self.config.optional_size("num_ln_in_parallel_attn") in (None, 2):
            # The second norm is attention's own, the first then the feed-forward layer's.
            norms = {"attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"}
        rules: list[TensorRule] = []
        for gguf, name in norms.items():
            rules += norm_rules(f"{target}.{gguf}", f"{source}.{name}", h.n_embd, bias=True)
        return [
            *rules,
            *linear_rules(f"{target}.attn_qkv", f"{attention}.query_key_value", (qkv.of, h.n_embd), qkv),
            *linear_rules(f"{target}.attn_output", f"{attention}.dense", (h.n_embd, h.n_embd)),
            *linear_rules(f"{target}.ffn_up", f"{mlp}.dense_h_to_4h", (h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{mlp}.dense_4h_to_h", (h.n_embd, h.n_ff)),
        ]
