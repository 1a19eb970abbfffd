"""Seed-OSS: Llama with biases of queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from quantize.architectures.base.llama_like import QKV, HeadDimKeys, LlamaLike


class SeedOss(LlamaLike):
    """SeedOssForCausalLM."""

    gguf_name = "seed_oss"
    huggingface_names: ClassVar[tuple[str, ...]] = ("SeedOssForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 155136,
        "hidden_size": 4096,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 80,
        "num_key_value_heads": 8,
        "max_position_embeddings": 524288,
    }
    norms: ClassVar[Mapping[str, str]] = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
    }
    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(QKV, ("attention_bias", True))
    refused_flags: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("attention_out_bias", "mlp_bias"), "has biases of queries, keys and values only"
    )
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"

    def _head_size(self, share: int) -> int:
        """Return the size of a head: 128, where config.json is silent, and the share where it is null."""
        return self.config.optional_size("head_dim", 128) or share
