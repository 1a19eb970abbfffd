"""Falcon-H1: in each layer attention and a state space of Mamba 2, side by side.

Its many multipliers have no keys in GGUF: the matrices are multiplied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.state_space import StateSpace, check_head_size, check_time_steps
from quantize.architectures.base.transform import Scale, Transform
from quantize.gguf.header import Metadata, uint32

MULTIPLIERS = {
    "embed_tokens.weight": ("embedding_multiplier",),
    "lm_head.weight": ("lm_head_multiplier",),
    ".q_proj.weight": ("attention_in_multiplier",),
    ".k_proj.weight": ("key_multiplier", "attention_in_multiplier"),
    ".v_proj.weight": ("attention_in_multiplier",),
    ".o_proj.weight": ("attention_out_multiplier",),
    ".mamba.out_proj.weight": ("ssm_out_multiplier",),
}
"""The fields of config.json, one after the other, by the end of the tensor's name."""

BIASES = ("attention_bias", "mlp_bias", "mamba_proj_bias", "projectors_bias")


class FalconH1(LlamaLike):
    """FalconH1ForCausalLM."""

    gguf_name = "falcon-h1"
    huggingface_names: ClassVar[tuple[str, ...]] = ("FalconH1ForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 128000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "mamba_d_ssm": 1024,
        "mamba_n_heads": 128,
        "mamba_n_groups": 1,
        "mamba_d_state": 256,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
    }
    default_epsilon = 1e-5
    norms: ClassVar[dict[str, str]] = {"attn_norm": "input_layernorm", "ffn_norm": "pre_ff_layernorm"}
    last_norm_name = "model.final_layernorm"
    renames: ClassVar[tuple[tuple[str, str], ...]] = ((".feed_forward.", ".mlp."),)
    ignored_suffixes: ClassVar[tuple[str, ...]] = (*LlamaLike.ignored_suffixes, ".mamba.mup_vector")
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    needs_output = True
    refused_flags: ClassVar[dict[str, str]] = dict.fromkeys(BIASES, "has no biases")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        check_time_steps(config, self.gguf_name)
        n_embd, has_norm = self.hyperparameters.n_embd, config.flag("mamba_rms_norm", False)
        if has_norm and config.flag("mamba_norm_before_gate", True):
            raise CheckpointError(
                "config.json has mamba_rms_norm and mamba_norm_before_gate; llama.cpp's `falcon-h1` "
                "normalizes what the gate lets through"
            )
        inner = config.optional_size("mamba_d_ssm", self.defaults["mamba_d_ssm"])
        self.states = StateSpace(
            n_embd,
            inner=inner or self.size("mamba_expand") * n_embd,
            n_head=self.size("mamba_n_heads"),
            n_group=self.size("mamba_n_groups"),
            n_state=self.size("mamba_d_state"),
            kernel=self.size("mamba_d_conv"),
            conv_bias=config.flag("mamba_conv_bias", True),
            has_norm=has_norm,
        )
        check_head_size(config, self.states)

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        vocabulary = {f"{prefix}.vocab_size": uint32(self.vocabulary_size)}
        return super().metadata() | self.states.metadata(prefix) | vocabulary

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        return [
            *super().layer_attention_rules(source, target),
            *self.states.rules(f"{source}.mamba", target),
        ]

    def tensor_rules(self) -> Sequence[TensorRule]:
        return [self._multiplied(self._renamed(rule)) for rule in super().tensor_rules()]

    def _renamed(self, rule: TensorRule) -> TensorRule:
        """Return the rule with llama.cpp's name, which has no ending for one of the norms."""
        if not rule.name.endswith(".ffn_norm.weight"):
            return rule
        return dataclasses.replace(rule, name=rule.name.removesuffix(".weight"), f32=True)

    def _multiplied(self, rule: TensorRule) -> TensorRule:
        """Return the rule with the multipliers of its matrix; the output's hold for a tied one, too."""
        name = "lm_head.weight" if rule.name == "output.weight" else "".join(rule.sources)
        transform = self._multiplier(name, rule.transform)
        others = tuple(dataclasses.replace(other, transform=transform) for other in rule.others)
        return dataclasses.replace(rule, transform=transform, others=others)

    def _multiplier(self, name: str, inner: Transform) -> Transform:
        gate, down = self._list("mlp_multipliers", 2)
        if name.endswith(".gate_proj.weight"):
            return Scale(gate, inner)
        if name.endswith(".down_proj.weight"):
            return Scale(down, inner)
        if name.endswith(".mamba.in_proj.weight"):
            states, factors = self.states, self._list("ssm_multipliers", 5)
            group = states.n_group * states.n_state
            counts = (states.inner, states.inner, group, group, states.n_head)
            return Scale(self._one("ssm_in_multiplier"), inner, tuple(zip(counts, factors, strict=True)))
        for end, fields in MULTIPLIERS.items():
            if name.endswith(end):
                for field in fields:
                    inner = Scale(self._one(field), inner)
        return inner

    def _one(self, name: str) -> float:
        return self.config.number(name, 1.0)

    def _list(self, name: str, n: int) -> tuple[float, ...]:
        """Return the `n` numbers of a list, ones where there is none. Raises CheckpointError."""
        values = self.config.numbers(name) or (1.0,) * n
        if len(values) != n:
            raise CheckpointError(f"{name} in config.json has {len(values)} numbers; it must have {n}")
        return values
