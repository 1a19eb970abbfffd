"""OpenAI's gpt-oss: experts with biases and a clamped gate, attention sinks, windows.

Published checkpoints have the experts in MXFP4, output by output; a trained one may have whole ones, input by
input. Either way gate and up take turns: output 0 is the gate's first, output 1 up's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.moe import expert_count_metadata
from quantize.architectures.base.passthrough import StoredExperts
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.sliding_window import sliding_window_metadata
from quantize.architectures.base.transform import ColumnsOfEach
from quantize.gguf.header import Metadata, uint32

MXFP4 = GGML_TYPES["MXFP4"]
YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 4096,
}
"""The rotary settings where config.json has none."""

HARD_WIRED = {"swiglu_alpha": 1.702, "swiglu_limit": 7.0}
"""The experts' gate as llama.cpp computes it."""


class GptOss(LlamaLike):
    """GptOssForCausalLM."""

    gguf_name = "gpt-oss"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GptOssForCausalLM",)
    defaults: ClassVar[Mapping[str, int]] = {
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_experts": "num_local_experts"}
    default_epsilon = 1e-5
    default_theta = 150000.0
    null_kv_heads = False
    own_head_dim = True
    needs_output = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    norms: ClassVar[Mapping[str, str]] = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
    }
    biases: ClassVar[Mapping[str, tuple[str, bool]]] = dict.fromkeys(
        ("attn_q", "attn_k", "attn_v", "attn_output"), ("attention_bias", True)
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters, n_expert=self.size("num_local_experts")
        )
        if not config.flag("attention_bias", True):
            raise CheckpointError(
                "config.json has attention_bias false; llama.cpp's `gpt-oss` needs these biases"
            )
        for name, value in HARD_WIRED.items():
            if config.number(name, value) != value:
                raise CheckpointError(
                    f"config.json has {name} {config.number(name):g}; llama.cpp's `gpt-oss` has {value}"
                )

    def _read_rope(self) -> Rope:
        if not self.config.raw("rope_scaling") and not self.config.has("rope_parameters"):
            config = self.config.under(ModelConfig({"rope_parameters": YARN}))
            return Rope.of(config, self.default_theta)
        return super()._read_rope()

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        return {
            **super().metadata(),
            **expert_count_metadata(prefix, h.n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.expert_feed_forward_length": uint32(h.n_ff),
            **sliding_window_metadata(self.config, prefix, h.n_layer, self.size("sliding_window"), period=2),
        }

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        sinks = (f"{source}.self_attn.sinks",)
        return [
            *super().layer_attention_rules(source, target),
            TensorRule(f"{target}.attn_sinks.weight", sinks, (self.hyperparameters.n_head,)),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, router, experts = self.hyperparameters, f"{source}.mlp.router", f"{source}.mlp.experts"
        shape = (h.n_expert, h.n_embd)
        rules = [
            TensorRule(f"{target}.ffn_gate_inp.weight", (f"{router}.weight",), shape, f32=True),
            TensorRule(f"{target}.ffn_gate_inp.bias", (f"{router}.bias",), shape[:1]),
        ]
        for part, first in (("gate", 0), ("up", 1)):
            rules += self._expert_rules(target, part, f"{experts}.gate_up_proj", (h.n_ff, h.n_embd), first, 2)
        return rules + self._expert_rules(target, "down", f"{experts}.down_proj", (h.n_embd, h.n_ff), 0, 1)

    def _expert_rules(
        self, target: str, part: str, source: str, shape: tuple[int, int], first: int, step: int
    ) -> list[TensorRule]:
        """Return the rules of a matrix and a bias: each `step`th output of a tensor, from `first` on."""
        n, of, n_expert = shape[0], shape[0] * step, self.hyperparameters.n_expert
        name, whole = f"{target}.ffn_{part}_exps", ColumnsOfEach(first, n, of, step)
        blocks = StoredExperts(first, n, of, step, MXFP4)
        other = TensorRule(f"{name}.weight", (source,), (n_expert, *shape), whole)
        return [
            TensorRule(f"{name}.weight", (f"{source}.weight",), (n_expert, *shape), blocks, others=(other,)),
            TensorRule(f"{name}.bias", (f"{source}_bias",), (n_expert, n), whole, f32=True),
        ]
