"""OLMo 2 and 3: norms behind attention and feed-forward, not before, and over all queries and keys.

Olmo 3 has a window in three of four layers, where YaRN doesn't stretch the rotation.
"""

from __future__ import annotations

from typing import ClassVar

from quantize.architectures.base.llama_like import QKV, LlamaLike
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32


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


class Olmo3(Olmo2):
    """Olmo3ForCausalLM."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Olmo3ForCausalLM",)
    default_theta = 500000.0
    window_period: ClassVar[int] = 4
    """Every layer at a multiple of this number has no window."""

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set `local`, those of the others."""
        full, self.local = Rope.of_layer_types(self.config, self.default_theta, self.default_theta)
        return full

    def metadata(self) -> Metadata:
        prefix, keys = self.gguf_name, super().metadata()
        layers = sliding_layers(self.config, self.hyperparameters.n_layer, self.window_period)
        if any(layers):
            self.rope.check_windows(self.local, prefix)
        return keys | {
            f"{prefix}.rope.freq_base_swa": float32(self.local.theta),
            f"{prefix}.attention.sliding_window": uint32(self.config.size("sliding_window", 4096)),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, layers),
        }
