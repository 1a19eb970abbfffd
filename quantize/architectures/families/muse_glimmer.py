"""Muse Glimmer, text only: windows with rotation, every fourth layer without either; gated attention.

Queries and keys are normed without weights; the file has a norm whose weights are the queries' factor.
"""

from __future__ import annotations

from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.base.transform import Constant, Plus, Transform
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32


class MuseGlimmer(LlamaLike):
    """The text part of MuseGlimmerForConditionalGeneration."""

    gguf_name = "muse-glimmer"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MuseGlimmerForConditionalGeneration",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 202048,
        "hidden_size": 6656,
        "intermediate_size": 19968,
        "num_hidden_layers": 52,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "sliding_window": 2048,
    }
    norms: ClassVar[dict[str, str]] = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    norm_transform = Plus(1.0)
    default_epsilon = 1e-5
    activation_name = "hidden_activation"
    rotates_neighbours = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    own_head_dim = True
    null_kv_heads = False
    needs_output = True
    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = ("vision_tower.", "vision_adapter.", "vision_projection.")
    refused_flags: ClassVar[dict[str, str]] = {"attention_bias": "has no biases"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_layer = self.hyperparameters.n_layer
        if self.config.texts("layer_types") is None:
            self.windows = tuple((n_layer - 1 - layer) % 4 != 0 for layer in range(n_layer))
        else:
            self.windows = sliding_layers(self.config, n_layer, 4)
        thetas = self.config.numbers("layer_rope_theta")
        if thetas is not None and thetas != tuple(self.rope.theta if one else 0 for one in self.windows):
            raise CheckpointError(
                "config.json has a layer_rope_theta by which other layers are rotated than those with a "
                "window, or to another base; llama.cpp's `muse-glimmer` rotates those, to one base"
            )
        if self.config.number("post_norm_eps", 1e-8) != 1e-8:
            raise CheckpointError(
                "config.json has a post_norm_eps other than 1e-8, which llama.cpp's `muse-glimmer` takes"
            )

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = super().metadata() | {
            f"{prefix}.attention.sliding_window": uint32(self.size("sliding_window")),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, self.windows),
            f"{prefix}.logit_scale": float32(self.config.number("output_multiplier", 0.19611613513818404)),
        }
        cap = self.config.number("final_logit_softcapping", 20.0)
        if cap:
            keys[f"{prefix}.final_logit_softcapping"] = float32(cap)
        return keys

    def outer_rules(self, norm: Transform | None = None, *, norm_bias: bool = False) -> list[TensorRule]:
        """Return the rules of embedding, output matrix and last norm, which adds nothing to its weights."""
        del norm
        return super().outer_rules(norm_bias=norm_bias)

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        h, dim = self.hyperparameters, self.head_dim
        gate = linear_rules(
            f"{target}.attn_gate", f"{source}.self_attn.gate_proj", (h.n_head * dim, h.n_embd)
        )
        factors = {"q": self.config.number("qk_scale_factor", 3.87), "k": 1.0}
        return [
            *super().layer_attention_rules(source, target),
            *gate,
            *(
                TensorRule(f"{target}.attn_{part}_norm.weight", (), (dim,), Constant((factor,) * dim))
                for part, factor in factors.items()
            ),
        ]
