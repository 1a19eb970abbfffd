"""MiniMax M2 and M3: Mixtral's names, norms of queries and keys, experts that are chosen by an offset.

M3 attends to a few blocks of tokens, which an indexer chooses, in all layers but the dense ones at the start.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    leading_dense_layers,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Plus
from quantize.gguf.header import Metadata, boolean, float32, uint32

SIGMOID = 2


class MiniMaxM2(LlamaLike):
    """MiniMaxM2ForCausalLM, without the layers that predict further tokens."""

    gguf_name = "minimax-m2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MiniMaxM2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 200064,
        "hidden_size": 3072,
        "intermediate_size": 1536,
        "num_hidden_layers": 62,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 196608,
        "num_local_experts": 256,
        "num_experts_per_tok": 8,
    }
    default_theta = 5e6
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    own_head_dim = True
    needs_output = True
    null_kv_heads = False
    aliases: ClassVar[dict[str, str]] = {"num_experts": "num_local_experts"}
    renames: ClassVar[tuple[tuple[str, str], ...]] = ((".mlp.", ".block_sparse_moe."),)
    may_predict_further = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.text("scoring_func", "sigmoid") != "sigmoid" or not config.flag("use_qk_norm", True):
            raise CheckpointError(
                "config.json has another scoring_func than sigmoid, or use_qk_norm false; llama.cpp's "
                f"`{self.gguf_name}` computes neither"
            )
        n_expert = self.size("num_local_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)

    @property
    def rotated(self) -> int:
        """The rotated numbers of a head: `rotary_dim`, or a share of it where config.json has that."""
        of_dim = self.config.size("rotary_dim", self.head_dim) / self.head_dim
        return int(self.head_dim * self.rotary_share(of_dim))

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        return {
            **super().metadata(),
            **expert_count_metadata(prefix, h.n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.rope.dimension_count": uint32(self.rotated),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("intermediate_size")),
            f"{prefix}.expert_gating_func": uint32(SIGMOID),
        }

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        return [
            *super().layer_attention_rules(source, target),
            *norm_rules(f"{target}.attn_q_norm", f"{source}.self_attn.q_norm", h.n_head * self.head_dim),
            *norm_rules(f"{target}.attn_k_norm", f"{source}.self_attn.k_norm", h.n_head_kv * self.head_dim),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe, n_ff = self.hyperparameters, f"{source}.block_sparse_moe", self.size("intermediate_size")
        matrices = gated_matrices({"gate": "w1", "up": "w3", "down": "w2"}, h.n_embd, n_ff)
        offsets = (f"{moe}.e_score_correction_bias",)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{moe}.experts", h.n_expert, matrices),
            TensorRule(f"{target}.exp_probs_b.bias", offsets, (h.n_expert,)),
        ]


class MiniMaxM3(MiniMaxM2):
    """MiniMaxM3SparseForCausalLM and the text part of MiniMaxM3SparseForConditionalGeneration."""

    gguf_name = "minimax-m3"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "MiniMaxM3SparseForCausalLM",
        "MiniMaxM3SparseForConditionalGeneration",
    )
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 200064,
        "hidden_size": 6144,
        "intermediate_size": 3072,
        "dense_intermediate_size": 12288,
        "shared_intermediate_size": 3072,
        "num_hidden_layers": 60,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "rotary_dim": 64,
        "max_position_embeddings": 524288,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
    }
    activations: ClassVar[tuple[str, ...]] = ("silu", "swigluoai")
    renames: ClassVar[tuple[tuple[str, str], ...]] = ()
    ignored_prefixes = ("vision_tower.", "multi_modal_projector.", "patch_merge_mlp.")
    index_names: ClassVar[dict[str, tuple[str, str, int]]] = {
        "head_count": ("sparse_num_index_heads", "index_n_heads", 4),
        "key_length": ("sparse_index_dim", "index_head_dim", 128),
        "top_k": ("sparse_topk_blocks", "index_topk_blocks", 16),
        "block_size": ("sparse_block_size", "index_block_size", 128),
        "local_blocks": ("sparse_local_block", "index_local_blocks", 1),
    }
    """The indexer's keys, each one's name in `sparse_attention_config` and beside it, and its default."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config").with_aliases(self.aliases))
        n_ff, listed = self.size("dense_intermediate_size"), leading_dense_layers(self.config)
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_ff=n_ff)
        n_layer = self.hyperparameters.n_layer
        frequencies = self.config.numbers("moe_layer_freq") or (1.0,) * n_layer
        self.dense_layers = frequencies.index(1) if listed is None and 1 in frequencies else listed or 0
        section = self.config.section("sparse_attention_config") or ModelConfig({})
        self.indexer = {
            key: section.size(old, self.config.size(new, default))
            for key, (old, new, default) in self.index_names.items()
        }
        sparse = tuple(layer >= self.dense_layers for layer in range(n_layer))
        kinds, attends = self.config.texts("layer_types"), section.numbers("sparse_attention_freq")
        found = attends if kinds is None else tuple(kind != "full_attention" for kind in kinds)
        if found is None or tuple(map(bool, found)) != sparse or frequencies[self.dense_layers :].count(0):
            raise CheckpointError(
                "config.json has experts or an indexer in other layers than all but the first ones; "
                "llama.cpp's `minimax-m3` has both in the same"
            )
        if self.config.number("swiglu_alpha", 1.702) != 1.702 or self.config.number("swiglu_limit", 7.0) != 7:
            raise CheckpointError(
                "config.json has another swiglu_alpha than 1.702 or swiglu_limit than 7, which is what "
                "llama.cpp's `minimax-m3` computes with"
            )

    @property
    def rotated(self) -> int:
        """The rotated numbers of a head."""
        share = self.size("rotary_dim") / self.head_dim
        return int(self.head_dim * self.rotary_share(share))

    @property
    def shared_size(self) -> int:
        """The rows of the expert that is always used, or of all of these."""
        return self.size("shared_intermediate_size") * self.config.size("n_shared_experts", 1)

    def metadata(self) -> Metadata:
        prefix, n_shared = self.gguf_name, self.config.size("n_shared_experts", 1)
        if self.shared_size != n_shared * self.size("intermediate_size"):
            raise CheckpointError(
                "config.json has a shared_intermediate_size other than intermediate_size; in llama.cpp's "
                "`minimax-m3` experts have one size"
            )
        return {
            **super().metadata(),
            f"{prefix}.expert_shared_count": uint32(n_shared),
            f"{prefix}.expert_weights_scale": float32(self.config.number("routed_scaling_factor", 2.0)),
            f"{prefix}.expert_weights_norm": boolean(True),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            **{f"{prefix}.attention.indexer.{key}": uint32(size) for key, size in self.indexer.items()},
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = list(super().tensor_rules())
        for layer in range(self.dense_layers, self.hyperparameters.n_layer):
            rules += self._indexer_rules(f"model.layers.{layer}.self_attn.index", f"blk.{layer}.indexer")
        return [
            dataclasses.replace(rule, transform=Plus(1.0)) if rule.name.endswith("_norm.weight") else rule
            for rule in rules
        ]

    def _indexer_rules(self, source: str, target: str) -> list[TensorRule]:
        n_embd, n_head, size = (
            self.hyperparameters.n_embd,
            self.indexer["head_count"],
            self.indexer["key_length"],
        )
        rules = [
            *linear_rules(f"{target}.q_proj", f"{source}_q_proj", (n_head * size, n_embd)),
            *linear_rules(f"{target}.k_proj", f"{source}_k_proj", (size, n_embd)),
            *norm_rules(f"{target}.q_norm", f"{source}_q_norm", size),
            *norm_rules(f"{target}.k_norm", f"{source}_k_norm", size),
        ]
        return [dataclasses.replace(rule, f32=True) for rule in rules]

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        return [
            *LlamaLike.layer_attention_rules(self, source, target),
            *norm_rules(f"{target}.attn_q_norm", f"{source}.self_attn.q_norm", self.head_dim),
            *norm_rules(f"{target}.attn_k_norm", f"{source}.self_attn.k_norm", self.head_dim),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if int(target.removeprefix("blk.")) < self.dense_layers:
            return LlamaLike.feed_forward_rules(self, source, target)
        shared = gated_matrices(PROJECTIONS, self.hyperparameters.n_embd, self.shared_size)
        return [
            *super().feed_forward_rules(source, target),
            *plain_rules(target, "_shexp", f"{source}.block_sparse_moe.shared_experts", shared),
        ]
