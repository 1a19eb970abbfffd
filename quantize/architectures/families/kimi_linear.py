"""Kimi Linear: delta attention with a decay per channel, and latent attention without positions.

`DeltaLatent` is what Ling 3 shares with it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Axes, Exp, Slice
from quantize.architectures.families.deepseek2 import Deepseek2
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32

_KINDS: Final = {"linear_attention": True, "full_attention": False}


class DeltaLatent(Deepseek2):
    """A decoder with layers of delta attention between those of latent attention."""

    default_gating = "sigmoid"
    reads_layer_types = True
    head_dim_names: ClassVar[tuple[str, ...]] = ("linear_head_dim",)
    """The fields of config.json that may hold the size of a head of delta attention, the first preferred."""

    kernel_names: ClassVar[tuple[str, ...]] = ("linear_conv_kernel_dim",)
    """The fields of config.json that may hold the width of its convolutions, the first preferred."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        linear = self.config.section("linear_attn_config") or ModelConfig({})
        self.state = linear.size("head_dim", self._first_size(self.head_dim_names))
        self.kernel = linear.size("short_conv_kernel_size", self._first_size(self.kernel_names))
        self.recurrent = self._recurrent_layers(linear)

    def _first_size(self, names: tuple[str, ...]) -> int:
        return self.size(self.config.first(names) or names[-1])

    def _recurrent_layers(self, linear: ModelConfig) -> tuple[bool, ...]:
        """Return for each layer True if its attention is linear; the makers' file counts layers from one."""
        n_layer = self.hyperparameters.n_layer
        kinds, full = self.config.texts("layer_types"), linear.numbers("full_attn_layers")
        if kinds is not None:
            if len(kinds) != n_layer or not set(kinds) <= set(_KINDS):
                raise CheckpointError(
                    f"layer_types in config.json must have {n_layer} entries, each linear_attention or "
                    "full_attention"
                )
            return tuple(_KINDS[kind] for kind in kinds)
        if full is not None:
            return tuple(layer + 1 not in full for layer in range(n_layer))
        return tuple(self.is_recurrent_by_default(layer) for layer in range(n_layer))

    def is_recurrent_by_default(self, layer: int) -> bool:
        """Tell whether a layer's attention is linear where config.json doesn't list them."""
        return layer == 0 or layer % 4 != 0

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        return super().metadata() | {
            f"{prefix}.attention.head_count_kv": array(
                ValueType.INT32, [int(not one) for one in self.recurrent]
            ),
            f"{prefix}.ssm.conv_kernel": uint32(self.kernel),
            f"{prefix}.kda.head_dim": uint32(self.state),
        }

    def attention_layer_rules(self, layer: int) -> list[TensorRule]:
        source, target = f"model.layers.{layer}.self_attn", f"blk.{layer}"
        if not self.recurrent[layer]:
            return super().attention_layer_rules(layer)
        h, state, kernel = self.hyperparameters, self.state, self.kernel
        n = h.n_head * state
        rules: list[TensorRule] = []
        for at, part in enumerate("qkv"):
            name, shape = f"{target}.ssm_conv1d_{part}.weight", (1, n, 1, kernel)
            stacked = Axes((n, 1, kernel), Slice(at * n, n, of=3 * n))
            joined = TensorRule(name, (f"{source}.conv1d.weight",), shape, stacked, f32=True)
            rules += linear_rules(f"{target}.attn_{part}", f"{source}.{part}_proj", (n, h.n_embd))
            rules.append(
                TensorRule(
                    name,
                    (f"{source}.{part}_conv1d.weight",),
                    shape,
                    Axes((n, 1, kernel)),
                    f32=True,
                    others=(joined,),
                )
            )
        return [
            *rules,
            *linear_rules(f"{target}.ssm_beta", f"{source}.b_proj", (h.n_head, h.n_embd)),
            TensorRule(f"{target}.ssm_dt.bias", (f"{source}.dt_bias",), (n,)),
            *norm_rules(f"{target}.ssm_norm", f"{source}.o_norm", state),
            *linear_rules(f"{target}.attn_output", f"{source}.o_proj", (h.n_embd, n)),
            *self.gate_rules(source, target),
        ]

    @abstractmethod
    def gate_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of the gates of delta attention, that forgets and that of the output."""


class KimiLinear(DeltaLatent):
    """KimiLinearForCausalLM, under the names of its makers' code and under those of transformers."""

    gguf_name = "kimi-linear"
    huggingface_names: ClassVar[tuple[str, ...]] = ("KimiLinearForCausalLM", "KimiLinearModel")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 163840,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 27,
        "num_attention_heads": 32,
        "max_position_embeddings": 1048576,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "kv_lora_rank": 512,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 1024,
        "first_k_dense_replace": 1,
        "linear_head_dim": 128,
        "linear_num_heads": 32,
        "linear_conv_kernel_dim": 4,
    }
    default_routing: ClassVar[Mapping[str, Any]] = {
        "n_group": 1,
        "topk_group": 1,
        "routed_scaling_factor": 2.446,
        "norm_topk_prob": True,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "num_local_experts": "n_routed_experts",
        "num_experts": "n_routed_experts",
        "num_shared_experts": "n_shared_experts",
        "num_experts_per_token": "num_experts_per_tok",
        "num_expert_group": "n_group",
        "moe_renormalize": "norm_topk_prob",
        "moe_router_activation_func": "scoring_func",
        "model_max_length": "max_position_embeddings",
    }
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".block_sparse_moe.", ".mlp."),
        (".forget_gate.", "."),
    )
    default_epsilon = 1e-5
    needs_output = True
    expert_names: ClassVar[Mapping[str, str]] = {"gate": "w1", "up": "w3", "down": "w2"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        linear = config.section("linear_attn_config") or ModelConfig({})
        n_head = self.hyperparameters.n_head
        if linear.size("num_heads", self.size("linear_num_heads")) != n_head:
            raise CheckpointError(
                "config.json has another number of heads for linear attention (linear_attn_config) than for "
                f"the other layers, and llama.cpp's `{self.gguf_name}` has one for both"
            )
        if self.query_latent is not None or not config.flag("mla_use_nope", True):
            raise CheckpointError(
                "config.json has a q_lora_rank, or mla_use_nope false; llama.cpp's `kimi-linear` makes "
                "queries of one matrix and attends without positions"
            )
        if not config.flag("norm_topk_prob", True) or not self.hyperparameters.n_expert:
            raise CheckpointError(
                "config.json has no experts, or weights of them that don't sum to one (moe_renormalize); "
                "llama.cpp's `kimi-linear` computes neither"
            )

    def _read_rope(self) -> Rope:
        """Return settings that nothing computes with."""
        theta = self.config.optional_number("rope_theta") or DEFAULT_THETA
        return Rope("default", theta, ModelConfig({}))

    def _routing(self) -> Metadata:
        config, prefix, default = self.config, self.gguf_name, self.default_routing
        keys: Metadata = {}
        groups = config.size("n_group", default["n_group"])
        if groups > 1:
            keys[f"{prefix}.expert_group_count"] = uint32(groups)
        used = config.size("topk_group", default["topk_group"])
        keys[f"{prefix}.expert_group_used_count"] = uint32(used)
        scale = config.number("routed_scaling_factor", default["routed_scaling_factor"])
        keys[f"{prefix}.expert_weights_scale"] = float32(scale)
        return keys

    def gate_rules(self, source: str, target: str) -> list[TensorRule]:
        n_head, n_embd, state = self.hyperparameters.n_head, self.hyperparameters.n_embd, self.state
        n = n_head * state
        return [
            *linear_rules(f"{target}.ssm_f_a", f"{source}.f_a_proj", (state, n_embd)),
            *linear_rules(f"{target}.ssm_f_b", f"{source}.f_b_proj", (n, state)),
            TensorRule(f"{target}.ssm_a", (f"{source}.A_log",), (1, 1, n_head, 1), Exp(-1.0), f32=True),
            *linear_rules(f"{target}.ssm_g_a", f"{source}.g_a_proj", (state, n_embd)),
            *linear_rules(f"{target}.ssm_g_b", f"{source}.g_b_proj", (n, state)),
        ]
