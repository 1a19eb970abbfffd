"""OLMo 2: norms behind attention and feed-forward, not before, and over all queries and keys."""

from __future__ import annotations

from typing import ClassVar

from quantize.architectures.base.llama_like import QKV, LlamaLike
from quantize.architectures.base.rules import TensorRule, norm_rules


class Olmo2(LlamaLike):
    """Olmo2ForCausalLM."""

    gguf_name = "olmo2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Olmo2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 50304,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    default_epsilon = 1e-5
    needs_output = True
    norms: ClassVar[dict[str, str]] = {
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(QKV, ("attention_bias", False))

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        h, attention = self.hyperparameters, f"{source}.self_attn"
        return [
            *super().layer_attention_rules(source, target),
            *norm_rules(f"{target}.attn_q_norm", f"{attention}.q_norm", h.n_head * self.head_dim),
            *norm_rules(f"{target}.attn_k_norm", f"{attention}.k_norm", h.n_head_kv * self.head_dim),
        ]
