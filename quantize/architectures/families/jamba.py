"""Jamba: state spaces of Mamba 1, some layers that attend without positions, and experts in some."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.hybrid import kv_heads_metadata
from quantize.architectures.base.llama_like import LlamaLike
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    router_rule,
)
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.state_space import SelectiveStateSpace, time_step_rank
from quantize.gguf.header import Metadata


class Jamba(LlamaLike):
    """JambaForCausalLM."""

    gguf_name = "jamba"
    huggingface_names: ClassVar[tuple[str, ...]] = ("JambaForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 65536,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 262144,
        "num_experts": 16,
        "num_experts_per_tok": 2,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "attn_layer_period": 8,
        "attn_layer_offset": 4,
        "mamba_d_state": 16,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_local_experts": "num_experts"}
    norms: ClassVar[dict[str, str]] = {"attn_norm": "input_layernorm", "ffn_norm": "pre_ff_layernorm"}
    last_norm_name = "model.final_layernorm"
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".moe.", ".feed_forward."),
        (".feed_forward.", ".mlp."),
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_layer, n_embd = self.hyperparameters.n_layer, self.hyperparameters.n_embd
        self.attends = self._periodic("attn_layer", n_layer)
        n_expert = self.size("num_experts")
        self.expert_layers = self._periodic("expert_layer", n_layer) if n_expert > 1 else (False,) * n_layer
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters,
            n_head_kv=self.n_head_kv if self.attends[0] else 0,
            n_expert=n_expert if any(self.expert_layers) else 0,
        )
        if config.flag("mamba_proj_bias", False) or self.size("mamba_expand") != 2:
            raise CheckpointError(
                "config.json has mamba_proj_bias, or a mamba_expand other than 2; llama.cpp's `jamba` "
                "computes state spaces without biases, twice as wide as the embedding"
            )
        self.states = SelectiveStateSpace(
            n_embd,
            inner=2 * n_embd,
            n_state=self.size("mamba_d_state"),
            rank=time_step_rank(config, "mamba_dt_rank", n_embd),
            kernel=self.size("mamba_d_conv"),
            conv_bias=config.flag("mamba_conv_bias", True),
        )

    def _read_rope(self) -> Rope:
        """Return settings without effect: nothing is rotated."""
        return Rope("default", DEFAULT_THETA, ModelConfig({}))

    def _periodic(self, name: str, n_layer: int) -> tuple[bool, ...]:
        """Return for each layer True if it is one of those that come back after a period."""
        period = self.size(f"{name}_period")
        offset = self.config.count(f"{name}_offset", self.defaults[f"{name}_offset"])
        if offset >= period:
            raise CheckpointError(f"config.json has {name}_offset {offset}, beyond {name}_period {period}")
        return tuple(layer % period == offset for layer in range(n_layer))

    def metadata(self) -> Metadata:
        prefix, n_expert = self.gguf_name, self.hyperparameters.n_expert
        n_used = self.size("num_experts_per_tok") if n_expert else 0
        return {
            **self.common_metadata(),
            **self.epsilon_metadata(),
            **self.states.metadata(prefix),
            **kv_heads_metadata(prefix, self.n_head_kv, self.attends),
            **expert_count_metadata(prefix, n_expert, n_used),
        }

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        if self.attends[int(target.removeprefix("blk."))]:
            return super().layer_attention_rules(source, target)
        rules, mamba = self.states.rules(f"{source}.mamba", target), f"{source}.mamba"
        for part, n in (("dt", self.states.rank), ("b", self.states.n_state), ("c", self.states.n_state)):
            rules += norm_rules(f"{target}.ssm_{part}_norm", f"{mamba}.{part}_layernorm", n)
        return rules

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if not self.expert_layers[int(target.removeprefix("blk."))]:
            return super().feed_forward_rules(source, target)
        h = self.hyperparameters
        matrices = gated_matrices(PROJECTIONS, h.n_embd, h.n_ff)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{source}.mlp.router", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{source}.mlp.experts", h.n_expert, matrices),
        ]

    def usual_name(self, name: str) -> str:
        """Return the rules' name for a tensor; Mini-Jamba's layers without experts have one."""
        name = super().usual_name(name)
        return (
            name if any(self.expert_layers) and self._has_experts(name) else name.replace(".experts.0.", ".")
        )

    def _has_experts(self, name: str) -> bool:
        """Tell whether a tensor is of a layer with experts."""
        layers = [int(part) for part in name.split(".") if part.isdecimal()]
        return bool(layers) and layers[0] < len(self.expert_layers) and self.expert_layers[layers[0]]
