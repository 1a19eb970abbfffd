"""Nemotron-H, Nano 2 and Nemotron 3: each layer is a state space, attention, or a feed-forward.

The feed-forwards have no gate, and their activation is the square of a ReLU; in newer models experts take
their place, beside one that is always used. Attention knows no positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.hybrid import kv_heads_metadata
from quantize.architectures.base.moe import router_rule
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.state_space import StateSpace, check_time_steps
from quantize.architectures.base.transform import RotaryHeads, Stack
from quantize.gguf.header import Metadata, ValueType, array, boolean, float32, uint32

LETTERS = {
    "M": "mamba",
    "*": "attention",
    "-": "mlp",
    "E": "moe",
    "linear_attention": "mamba",
    "full_attention": "attention",
}
"""The kinds of layers: what the letters of `hybrid_override_pattern`, and newer names, stand for."""

KINDS = frozenset(LETTERS.values())
UNLIMITED = 2**20
"""The context, in tokens, that llama.cpp's files state for models without positions."""


class NemotronH(Decoder):
    """NemotronHForCausalLM, without the layers that predict further tokens."""

    gguf_name = "nemotron_h"
    huggingface_names: ClassVar[tuple[str, ...]] = ("NemotronHForCausalLM",)
    ignored_prefixes = ("mtp.",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 131072,
        "hidden_size": 4096,
        "intermediate_size": 21504,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 4096,
        "ssm_state_size": 128,
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "n_groups": 8,
        "conv_kernel": 4,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 7688,
        "moe_shared_expert_intermediate_size": 7688,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "layer_types": "layers_block_type",
        "num_local_experts": "n_routed_experts",
        "mamba_n_groups": "n_groups",
        "mamba_d_conv": "conv_kernel",
        "mamba_conv_bias": "use_conv_bias",
        "mamba_dt_limit": "time_step_limit",
    }
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        ("backbone.", "model."),
        (".e_score_correction.bias", ".e_score_correction_bias"),
    )
    epsilon_names = ("layer_norm_epsilon",)
    activations = ("relu2",)
    activation_name = "mlp_hidden_act"
    embedding_name = "model.embeddings"
    last_norm_name = "model.norm_f"
    own_head_dim = True
    null_kv_heads = False

    def __init__(self, config: ModelConfig) -> None:
        self.kinds = self._layer_kinds(config)
        self.has_experts = "moe" in self.kinds
        if self.has_experts:
            self.gguf_name = "nemotron_h_moe"
        super().__init__(config.under(ModelConfig({"num_hidden_layers": len(self.kinds)})))
        self._refuse(config)
        check_time_steps(config, self.gguf_name)
        self.states = StateSpace(
            self.hyperparameters.n_embd,
            inner=self.size("mamba_num_heads") * self.size("mamba_head_dim"),
            n_head=self.size("mamba_num_heads"),
            n_group=self.size("n_groups"),
            n_state=self.size("ssm_state_size"),
            kernel=self.size("conv_kernel"),
            conv_bias=config.flag("use_conv_bias", True),
        )
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters,
            n_head_kv=self.n_head_kv if self.kinds[0] == "attention" else 0,
            n_ff=self.feed_forward_sizes[0],
            n_expert=self.size("n_routed_experts") if self.has_experts else 0,
        )

    def _layer_kinds(self, config: ModelConfig) -> tuple[str, ...]:
        """Return the kind of each layer, of those in KINDS. Raises CheckpointError."""
        listed: Sequence[str] | None = config.texts("layers_block_type")
        if listed is None:
            listed = config.text("hybrid_override_pattern")
        kinds = tuple(LETTERS.get(kind, kind) for kind in listed)
        if not kinds or not set(kinds) <= KINDS or {"mlp", "moe"} <= set(kinds):
            raise CheckpointError(
                f"config.json has layers of the kinds {', '.join(sorted(set(kinds)))}; llama.cpp knows "
                f"{', '.join(sorted(KINDS))}, and mlp and moe not in one model"
            )
        return kinds

    def _refuse(self, config: ModelConfig) -> None:
        """Check what llama.cpp has one way to compute. Raises CheckpointError."""
        mamba = config.text("mamba_hidden_act", "silu")
        biases = config.flag("use_bias", False) or (self.has_experts and config.flag("mlp_bias", False))
        if mamba not in ("silu", "swish") or biases:
            raise CheckpointError(
                f"config.json has mamba_hidden_act {mamba!r}, use_bias, or mlp_bias with experts; "
                f"llama.cpp's `{self.gguf_name}` computes silu and no biases there"
            )

    def _read_rope(self) -> Rope:
        """Return settings without effect: nothing is rotated."""
        return Rope("default", DEFAULT_THETA, ModelConfig({}))

    def _head_size(self, share: int) -> int:
        del share
        return self.config.size("head_dim", self.config.size("attention_head_dim", self.defaults["head_dim"]))

    @property
    def context_length(self) -> int:
        return UNLIMITED

    @property
    def expert_sizes(self) -> tuple[int, ...]:
        """The rows of an expert, for each layer."""
        return (self.size("moe_intermediate_size"),) * len(self.kinds)

    @property
    def feed_forward_sizes(self) -> tuple[int, ...]:
        """The rows of each layer's feed-forward, or of one of its experts; 0 for other layers."""
        if self.has_experts:
            sizes = zip(self.kinds, self.expert_sizes, strict=True)
            return tuple(size if kind == "moe" else 0 for kind, size in sizes)
        return tuple(self.size("intermediate_size") if kind == "mlp" else 0 for kind in self.kinds)

    @property
    def latent(self) -> int | None:
        """The width to which experts' inputs are narrowed; None for the embedding's."""
        return self.config.optional_size("moe_latent_size")

    def metadata(self) -> Metadata:
        prefix, h = self.gguf_name, self.hyperparameters
        attends = [kind == "attention" for kind in self.kinds]
        keys: Metadata = {
            **self.common_metadata(),
            **self.epsilon_metadata("layer_norm_epsilon"),
            **self.head_size_metadata(),
            **self.states.metadata(prefix),
            **kv_heads_metadata(prefix, self.n_head_kv, attends),
            f"{prefix}.feed_forward_length": array(ValueType.INT32, self.feed_forward_sizes),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.rope.dimension_count": uint32(h.n_embd // h.n_head),
            f"{prefix}.rope.scaling.finetuned": boolean(False),
        }
        return keys | self.expert_metadata() if self.has_experts else keys

    def expert_metadata(self) -> Metadata:
        """Return the keys of experts."""
        prefix, config = self.gguf_name, self.config
        keys: Metadata = {
            f"{prefix}.expert_count": uint32(self.hyperparameters.n_expert),
            f"{prefix}.expert_used_count": uint32(self.size("num_experts_per_tok")),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.expert_shared_feed_forward_length": uint32(
                self.size("moe_shared_expert_intermediate_size")
            ),
            f"{prefix}.expert_shared_count": uint32(config.size("n_shared_experts", 1)),
            f"{prefix}.expert_weights_norm": boolean(config.flag("norm_topk_prob", True)),
            f"{prefix}.expert_weights_scale": float32(config.number("routed_scaling_factor", 1.0)),
            f"{prefix}.expert_group_count": uint32(config.size("n_group", 1)),
            f"{prefix}.expert_group_used_count": uint32(config.size("topk_group", 1)),
        }
        if self.latent is not None:
            keys[f"{prefix}.moe_latent_size"] = uint32(self.latent)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules()
        for layer, kind in enumerate(self.kinds):
            source, target = f"model.layers.{layer}.mixer", f"blk.{layer}"
            rules += norm_rules(
                f"{target}.attn_norm", f"model.layers.{layer}.norm", self.hyperparameters.n_embd
            )
            if kind == "mamba":
                rules += self.states.rules(source, target)
            elif kind == "attention":
                rules += self._attention(source, target)
            elif kind == "mlp":
                rules += self._plain(source, target, "", self.feed_forward_sizes[layer])
            else:
                rules += self._experts(source, target, self.expert_sizes[layer])
        return rules

    def _attention(self, source: str, target: str) -> list[TensorRule]:
        h, bias = self.hyperparameters, self.config.flag("attention_bias", False)
        rotary = RotaryHeads(self.head_dim)  # as in llama.cpp's files, in which nothing is rotated
        n_q, n_kv = h.n_head * self.head_dim, self.n_head_kv * self.head_dim
        return [
            *linear_rules(f"{target}.attn_q", f"{source}.q_proj", (n_q, h.n_embd), rotary, bias=bias),
            *linear_rules(f"{target}.attn_k", f"{source}.k_proj", (n_kv, h.n_embd), rotary, bias=bias),
            *linear_rules(f"{target}.attn_v", f"{source}.v_proj", (n_kv, h.n_embd), bias=bias),
            *linear_rules(f"{target}.attn_output", f"{source}.o_proj", (h.n_embd, n_q), bias=bias),
        ]

    def _plain(self, source: str, target: str, suffix: str, n_ff: int) -> list[TensorRule]:
        n_embd, bias = self.hyperparameters.n_embd, self.config.flag("mlp_bias", False)
        return [
            *linear_rules(f"{target}.ffn_up{suffix}", f"{source}.up_proj", (n_ff, n_embd), bias=bias),
            *linear_rules(f"{target}.ffn_down{suffix}", f"{source}.down_proj", (n_embd, n_ff), bias=bias),
        ]

    def _experts(self, source: str, target: str, n_ff: int) -> list[TensorRule]:
        n_expert, n_embd = self.hyperparameters.n_expert, self.hyperparameters.n_embd
        width, bias = self.latent or n_embd, f"{source}.gate.e_score_correction_bias"
        rules = [
            router_rule(f"{target}.ffn_gate_inp", f"{source}.gate", (n_expert, n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", (bias,), (n_expert,)),
            *self._plain(
                f"{source}.shared_experts",
                target,
                "_shexp",
                self.size("moe_shared_expert_intermediate_size"),
            ),
        ]
        for part, shape in (("up", (n_ff, width)), ("down", (width, n_ff))):
            name, all_shapes = f"{target}.ffn_{part}_exps.weight", (n_expert, *shape)
            ones = tuple(f"{source}.experts.{i}.{part}_proj.weight" for i in range(n_expert))
            fused = TensorRule(name, (f"{source}.experts.{part}_proj",), all_shapes)
            rules.append(TensorRule(name, ones, all_shapes, Stack(n_expert), others=(fused,)))
        if self.latent is not None:
            rules += linear_rules(
                f"{target}.ffn_latent_down", f"{source}.fc1_latent_proj", (self.latent, n_embd)
            )
            rules += linear_rules(
                f"{target}.ffn_latent_up", f"{source}.fc2_latent_proj", (n_embd, self.latent)
            )
        return rules


class NemotronHPuzzle(NemotronH):
    """NemotronHPuzzleForCausalLM: experts' size, and how many are used, differ by layer."""

    gguf_name = "nemotron_h_moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("NemotronHPuzzleForCausalLM",)

    def _layer_kinds(self, config: ModelConfig) -> tuple[str, ...]:
        self.blocks = config.sections("block_configs")
        kinds = [block.text("block_type") for block in self.blocks]
        kinds = [LETTERS.get(kind, kind) for kind in kinds]
        if not set(kinds) <= KINDS - {"mlp"} or "moe" not in kinds:
            raise CheckpointError(
                f"block_configs in config.json has the kinds {', '.join(sorted(set(kinds)))}; expected are "
                "mamba, attention and moe"
            )
        return tuple(kinds)

    def _of_blocks(self, name: str) -> tuple[int, ...]:
        """Return a size of each layer's experts; 0 for other layers."""
        return tuple(
            block.size(name) if kind == "moe" else 0
            for kind, block in zip(self.kinds, self.blocks, strict=True)
        )

    @property
    def expert_sizes(self) -> tuple[int, ...]:
        return self._of_blocks("moe_intermediate_size")

    def expert_metadata(self) -> Metadata:
        prefix = self.gguf_name
        return super().expert_metadata() | {
            f"{prefix}.expert_feed_forward_length": array(ValueType.INT32, self.expert_sizes),
            f"{prefix}.expert_used_count": array(ValueType.INT32, self._of_blocks("num_experts_per_tok")),
        }
