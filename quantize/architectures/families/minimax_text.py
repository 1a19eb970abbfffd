"""MiniMax-Text-01 and M1: lightning attention in seven of eight layers, and experts in each."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import LlamaLike
from quantize.architectures.base.moe import expert_count_metadata, expert_rules, gated_matrices, router_rule
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32

_PARTS: Final = ("full_attention", "linear_attention", "mlp")


class MiniMax01(LlamaLike):
    """MiniMaxText01ForCausalLM and MiniMaxM1ForCausalLM: residuals start behind the norms."""

    gguf_name = "minimax-01"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
    default_theta = 1e6
    default_epsilon = 1e-5
    own_head_dim = True
    aliases: ClassVar[dict[str, str]] = {"num_experts": "num_local_experts"}
    ignored_suffixes: ClassVar[tuple[str, ...]] = (
        *LlamaLike.ignored_suffixes,
        *(".slope_rate", ".query_decay", ".key_decay", ".diagonal_decay"),
    )
    renames: ClassVar[tuple[tuple[str, str], ...]] = ((".mlp.", ".block_sparse_moe."),)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        self.hyperparameters = dataclasses.replace(h, n_expert=self.size("num_local_experts"))
        self.recurrent = self._recurrent_layers()
        if config.count("shared_intermediate_size", 0) or not config.flag("postnorm", True):
            raise CheckpointError(
                "config.json has an expert that is always used, or postnorm false; llama.cpp's `minimax-01` "
                "has no such expert, and adds to the norms' results"
            )
        alphas = {config.number(f"layernorm_{part}_alpha", 1.0) for part in _PARTS}
        betas = {config.number(f"layernorm_{part}_beta", 1.0) for part in _PARTS}
        if len(alphas) > 1 or betas != {1.0}:
            raise CheckpointError(
                "config.json weighs residuals of attention and experts differently (layernorm_…_alpha), or "
                "what is added to them (layernorm_…_beta); llama.cpp's `minimax-01` has one weight for all"
            )
        self.residual = alphas.pop()

    def _recurrent_layers(self) -> tuple[bool, ...]:
        """Return for each layer True if its attention is linear, of which `attn_type_list` has zeros."""
        n_layer, kinds = self.hyperparameters.n_layer, self.config.numbers("attn_type_list")
        if kinds is None or len(kinds) != n_layer or not set(kinds) <= {0, 1}:
            raise CheckpointError(
                f"attn_type_list in config.json must have {n_layer} entries, 0 for lightning attention and 1 "
                "for the usual one"
            )
        return tuple(kind == 0 for kind in kinds)

    def metadata(self) -> Metadata:
        prefix, n_expert = self.gguf_name, self.hyperparameters.n_expert
        keys = super().metadata() | expert_count_metadata(prefix, n_expert, self.size("num_experts_per_tok"))
        keys[f"{prefix}.residual_scale"] = float32(self.residual)
        keys[f"{prefix}.rope.dimension_count"] = uint32(self.config.size("rotary_dim", self.head_dim))
        keys[f"{prefix}.attention.recurrent_layers"] = array(ValueType.BOOL, self.recurrent)
        return keys

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        if not self.recurrent[int(target.rpartition(".")[2])]:
            return super().layer_attention_rules(source, target)
        n_embd, attention = self.hyperparameters.n_embd, f"{source}.self_attn"
        n = self.hyperparameters.n_head * self.head_dim
        return [
            *linear_rules(f"{target}.attn_qkv", f"{attention}.qkv_proj", (3 * n, n_embd)),
            *linear_rules(f"{target}.attn_gate", f"{attention}.output_gate", (n, n_embd)),
            *norm_rules(f"{target}.attn_norm_2", f"{attention}.norm", n),
            *linear_rules(f"{target}.attn_output", f"{attention}.out_proj", (n_embd, n)),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe = self.hyperparameters, f"{source}.block_sparse_moe"
        matrices = gated_matrices({"gate": "w1", "up": "w3", "down": "w2"}, h.n_embd, h.n_ff)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{moe}.experts", h.n_expert, matrices),
        ]
