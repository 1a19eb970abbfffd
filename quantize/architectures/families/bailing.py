"""Ling and Ring (Bailing) and Sarvam: mixtures of experts with q, k and v in one matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import RotaryHeads, Same, Shape, Slice, Transform
from quantize.architectures.families.deepseek import GATING
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, boolean, float32, uint32


@dataclass(frozen=True)
class Centred:
    """A vector less its mean, read whole."""

    row_step: int

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        whole = source.rows(names[0], 0, self.row_step).astype(np.float32)
        return (whole - np.float32(whole.mean()))[start:stop]


class Bailing(Decoder):
    """BailingMoeForCausalLM: Ling-lite and Ling-plus. Published files are complete, so nothing is assumed."""

    gguf_name = "bailingmoe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("BailingMoeForCausalLM",)
    reads_back = False
    embedding_name = "model.word_embeddings"
    needs_output = True
    own_head_dim = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for flag in ("use_bias", "use_qkv_bias", "norm_head"):
            if config.flag(flag, False):
                raise CheckpointError(
                    f"config.json has {flag}; llama.cpp's `{self.gguf_name}` has no biases, and no output "
                    "matrix that is normalized for each token"
                )
        n_expert = config.optional_size("num_local_experts") or self.size("num_experts")
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)
        self.expert_size = self.size("moe_intermediate_size")
        self.shared_experts = self.size("num_shared_experts")
        self.check_layers()

    @property
    def dense_layers(self) -> int:
        """The number of layers at the start that have no experts."""
        return self.config.count("first_k_dense_replace", 0)

    def check_layers(self) -> None:
        """Check the layers. Raises CheckpointError: some are dense."""
        if self.dense_layers:
            raise CheckpointError(
                "config.json has first_k_dense_replace; llama.cpp's `bailingmoe` has experts in every layer"
            )

    @property
    def rotated(self) -> int:
        """The rotated numbers of a head."""
        return self.head_dim

    @property
    def weights_scale(self) -> float:
        """The factor of the used experts' weights."""
        return 1.0

    def metadata(self) -> Metadata:
        prefix, n_used = self.gguf_name, self.size("num_experts_per_tok")
        return {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            **(self.head_size_metadata() if self.config.has("head_dim") else {}),
            **expert_count_metadata(prefix, self.hyperparameters.n_expert, n_used),
            f"{prefix}.rope.dimension_count": uint32(self.rotated),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.expert_feed_forward_length": uint32(self.expert_size),
            f"{prefix}.expert_weights_scale": float32(self.weights_scale),
            f"{prefix}.expert_shared_count": uint32(self.shared_experts),
            f"{prefix}.expert_weights_norm": boolean(self.config.flag("norm_topk_prob", True)),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += self.layer_attention_rules(f"{source}.attention", target)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            dense = layer < self.dense_layers
            rules += (
                self.gated_rules(source, target) if dense else self.mixture_rules(f"{source}.mlp", target)
            )
        return rules

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's attention: q, k and v taken out of one matrix."""
        h, dim = self.hyperparameters, self.head_dim
        fused, of = (f"{source}.query_key_value.weight",), (h.n_head + 2 * h.n_head_kv) * dim
        rules, first = [], 0
        for part, n_head in (("q", h.n_head), ("k", h.n_head_kv), ("v", h.n_head_kv)):
            rows: Transform = Slice(first, n_head * dim, of)
            transform = rows if part == "v" else RotaryHeads(dim, rows)
            rules.append(
                TensorRule(f"{target}.attn_{part}.weight", fused, (n_head * dim, h.n_embd), transform)
            )
            first += n_head * dim
        return rules + linear_rules(f"{target}.attn_output", f"{source}.dense", (h.n_embd, h.n_head * dim))

    def mixture_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's experts."""
        h = self.hyperparameters
        routed = gated_matrices(PROJECTIONS, h.n_embd, self.expert_size)
        shared = gated_matrices(PROJECTIONS, h.n_embd, self.expert_size * self.shared_experts)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{source}.gate", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{source}.experts", h.n_expert, routed),
            *plain_rules(target, "_shexp", f"{source}.shared_experts", shared),
        ]


class Bailing2(Bailing):
    """BailingMoeV2ForCausalLM: norms of each head, half of it rotated, experts chosen by group and offset."""

    gguf_name = "bailingmoe2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("BailingMoeV2ForCausalLM",)
    reads_back = False
    own_head_dim = False
    may_predict_further = True
    default_share: ClassVar[float] = 0.5
    """The rotated part of each head where config.json is silent."""

    offset_transform: ClassVar[type[Centred] | None] = None
    """A change of the offsets by which experts are chosen."""

    def check_layers(self) -> None:
        """Check the settings. Raises CheckpointError: what llama.cpp doesn't compute."""
        gating = self.config.text("score_function", "sigmoid")
        if not self.config.flag("use_qk_norm", True) or gating not in GATING:
            raise CheckpointError(
                f"config.json has use_qk_norm false, or the score_function {gating!r}; llama.cpp's "
                f"`bailingmoe2` has norms of queries and keys, and knows {', '.join(GATING)}"
            )

    @property
    def rotated(self) -> int:
        return int(self.head_dim * self.rotary_share(self.default_share))

    @property
    def weights_scale(self) -> float:
        return self.config.number("routed_scaling_factor", 2.5)

    def metadata(self) -> Metadata:
        prefix, config = self.gguf_name, self.config
        keys = super().metadata()
        keys[f"{prefix}.expert_shared_feed_forward_length"] = uint32(self.expert_size)
        keys[f"{prefix}.expert_gating_func"] = uint32(GATING[config.text("score_function", "sigmoid")])
        for name, key in (("n_group", "expert_group_count"), ("topk_group", "expert_group_used_count")):
            if config.has(name):
                keys[f"{prefix}.{key}"] = uint32(config.size(name))
        return keys

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's attention, q, k and v in one matrix."""
        h, dim = self.hyperparameters, self.head_dim
        n_qkv = (h.n_head + 2 * h.n_head_kv) * dim
        return [
            *linear_rules(f"{target}.attn_qkv", f"{source}.query_key_value", (n_qkv, h.n_embd)),
            *norm_rules(f"{target}.attn_q_norm", f"{source}.query_layernorm", dim),
            *norm_rules(f"{target}.attn_k_norm", f"{source}.key_layernorm", dim),
            *linear_rules(f"{target}.attn_output", f"{source}.dense", (h.n_embd, h.n_head * dim)),
        ]

    def mixture_rules(self, source: str, target: str) -> list[TensorRule]:
        n_expert = self.hyperparameters.n_expert
        offsets = (f"{source}.gate.expert_bias",)
        transform = self.offset_transform(n_expert) if self.offset_transform else Same()
        return [
            *super().mixture_rules(source, target),
            TensorRule(f"{target}.exp_probs_b.bias", offsets, (n_expert,), transform, optional=True),
        ]


class Sarvam(Bailing2):
    """SarvamMoEForCausalLM: heads are rotated as a whole, and offsets count from their mean."""

    huggingface_names: ClassVar[tuple[str, ...]] = (
        "SarvamMoEForCausalLM",
        "modeling_sarvam_moe.SarvamMoEForCausalLM",
    )
    reads_back = False
    default_share = 1.0
    offset_transform = Centred
