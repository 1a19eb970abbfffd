"""Qwen 3 and its mixtures of experts: norms of each head's query and key instead of biases."""

from __future__ import annotations

from typing import ClassVar

from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.base.llama_like import QKV, HeadDimKeys, LlamaLike
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.families.qwen2 import Qwen2, Qwen2Moe


class HeadNorms(LlamaLike):
    """Qwen 3's attention: one norm for all heads' queries, one for their keys, and usually no biases."""

    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(QKV, ("attention_bias", False))
    own_head_dim = True

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        return [
            *super().layer_attention_rules(source, target),
            *norm_rules(f"{target}.attn_q_norm", f"{source}.self_attn.q_norm", self.head_dim),
            *norm_rules(f"{target}.attn_k_norm", f"{source}.self_attn.k_norm", self.head_dim),
        ]


class Qwen3(HeadNorms, Qwen2):
    """Qwen3ForCausalLM, and the text model of StepVLForConditionalGeneration."""

    gguf_name = "qwen3"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Qwen3ForCausalLM",
        "Qwen3Model",
        "StepVLForConditionalGeneration",
    )
    ignored_prefixes: ClassVar[tuple[str, ...]] = (*SEEING_AND_HEARING, "vit_large_projector.")
    headless_names: ClassVar[tuple[str, ...]] = ("Qwen3Model",)
    defaults: ClassVar[dict[str, int]] = {**Qwen2.defaults, "head_dim": 128}
    head_dim_keys: ClassVar[HeadDimKeys] = "always"


class Qwen3Moe(HeadNorms, Qwen2Moe):
    """Qwen3MoeForCausalLM: no expert that is always used."""

    gguf_name = "qwen3moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen3MoeForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
    }
    needs_output = False
    normalizes_weights = True
