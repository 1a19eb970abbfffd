"""MiMo V2 Flash: windows with sinks and more key-value heads in most layers; experts; short values.

The makers' files state layers, heads and rotation in fields of their own, transformers in its usual ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.moe import (
    PROJECTIONS,
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    router_rule,
)
from quantize.architectures.base.rope import LAYER_TYPES, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.families.deepseek import GATING
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32

ROTATED_SHARE = 0.334
WINDOW_THETA = 10000.0
SAME_SIZES = (
    ("swa_head_dim", "head_dim"),
    ("swa_v_head_dim", "v_head_dim"),
    ("swa_num_attention_heads", "num_attention_heads"),
)
"""The sizes of layers with windows, each with that of other layers, which llama.cpp has for both."""


class Mimo2(Decoder):
    """MiMoV2FlashForCausalLM, and MiMoV2ForCausalLM with queries, keys and values by themselves.

    Layers that predict further tokens are left out.
    """

    gguf_name = "mimo2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM")
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 152576,
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_hidden_layers": 48,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "head_dim": 192,
        "v_head_dim": 128,
        "max_position_embeddings": 131072,
        "n_routed_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048,
        "sliding_window": 129,
    }
    aliases: ClassVar[dict[str, str]] = {"num_local_experts": "n_routed_experts"}
    null_kv_heads = False
    own_head_dim = True
    needs_output = True
    default_theta = 5000000.0
    epsilon_names = ("rms_norm_eps", "layernorm_epsilon")
    renames = ((".attention_sink_bias", ".sinks"),)
    ignored_prefixes = ("mtp.",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        self.value_dim = self.size("v_head_dim")
        self.hyperparameters = dataclasses.replace(
            h, n_expert=self.size("n_routed_experts"), n_embd_head_v=self.value_dim
        )
        self.window_kv_heads = config.optional_size("swa_num_key_value_heads") or 2 * h.n_head_kv
        if h.n_head % self.window_kv_heads:
            raise CheckpointError(
                f"config.json has {h.n_head} heads and {self.window_kv_heads} key-value heads in layers with "
                "a window; heads must be a multiple of them"
            )
        self.slides = self._sliding_layers()
        self.is_sparse = self._sparse_layers()
        self._check()

    def _check(self) -> None:
        """Raises CheckpointError: what llama.cpp doesn't compute."""
        config, name = self.config, self.gguf_name
        for own, common in SAME_SIZES:
            if config.optional_size(own) not in (None, self.size(common)):
                raise CheckpointError(
                    f"config.json has {own} {config.size(own)} and {common} {self.size(common)}; "
                    f"llama.cpp's `{name}` has one for all layers"
                )
        if config.flag("attention_bias", False) or config.optional_size("n_shared_experts"):
            raise CheckpointError(
                f"config.json has attention_bias or n_shared_experts; llama.cpp's `{name}` has neither"
            )
        if not config.flag("norm_topk_prob", True) or config.text("scoring_func", "sigmoid") != "sigmoid":
            raise CheckpointError(
                f"config.json has norm_topk_prob false or another scoring_func than sigmoid; llama.cpp's "
                f"`{name}` lets the weights of a token's experts, by the sigmoid, add up to one"
            )
        if config.optional_number("routed_scaling_factor") not in (None, 1.0):
            raise CheckpointError(f"config.json has a routed_scaling_factor; llama.cpp's `{name}` reads none")
        if config.text("topk_method", "noaux_tc") != "noaux_tc":
            raise CheckpointError("config.json has another topk_method than noaux_tc")

    def _pattern(self, name: str) -> tuple[bool, ...] | None:
        """Return a list of the makers', of 0 and 1, by layer; None where there is none."""
        numbers = self.config.numbers(name)
        n_layer = self.hyperparameters.n_layer
        if numbers is None:
            return None
        if len(numbers) != n_layer or not set(numbers) <= {0, 1}:
            raise CheckpointError(f"{name} in config.json must be {n_layer} numbers, each 0 or 1")
        return tuple(number == 1 for number in numbers)

    def _sliding_layers(self) -> tuple[bool, ...]:
        """Return for each layer True if it has the window; usually all but the first and each sixth."""
        n_layer = self.hyperparameters.n_layer
        if self.config.has("layer_types"):
            return sliding_layers(self.config, n_layer, 6)
        usual = tuple(layer > 0 and (layer + 1) % 6 != 0 for layer in range(n_layer))
        return self._pattern("hybrid_layer_pattern") or usual

    def _sparse_layers(self) -> tuple[bool, ...]:
        """Return for each layer True if it has experts: by a list, else all but the first."""
        n_layer, kinds = self.hyperparameters.n_layer, self.config.texts("mlp_layer_types")
        if kinds is None:
            return self._pattern("moe_layer_freq") or tuple(layer > 0 for layer in range(n_layer))
        if len(kinds) != n_layer or not set(kinds) <= {"dense", "sparse"}:
            raise CheckpointError(f"mlp_layer_types in config.json must be {n_layer} of dense and sparse")
        return tuple(kind == "sparse" for kind in kinds)

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window; set `local_theta` and `rotated` of the others."""
        config, nothing = self.config, ModelConfig({})
        nested = config.section("rope_parameters") or nothing
        full, local = (nested.section(kind) or nothing for kind in LAYER_TYPES)
        share = config.number("partial_rotary_factor", ROTATED_SHARE)
        shares = {section.number("partial_rotary_factor", share) for section in (full, local)}
        rope = Rope.of_section(full, config, config.number("rope_theta", self.default_theta))
        outer = config.section("rope_scaling") or nothing
        kinds = {rope.kind, *(each.text("rope_type", "default") for each in (local, outer))}
        if nested.has_other_than(LAYER_TYPES) or kinds != {"default"} or len(shares) > 1:
            raise CheckpointError(
                "config.json scales the rotation, or rotates another part of heads in layers with a window; "
                f"llama.cpp's `{self.gguf_name}` does neither here"
            )
        self.rotated = int(self.head_dim * shares.pop())
        if self.rotated % 2:
            raise CheckpointError(
                f"config.json rotates {self.rotated} of a head's {self.head_dim} numbers; they must be even"
            )
        self.local_theta = local.number("rope_theta", config.number("swa_rope_theta", WINDOW_THETA))
        return rope

    @property
    def window(self) -> int:
        """The tokens that a token sees in a layer with a window, itself among them."""
        others = self.config.optional_size("sliding_window_size")
        return self.size("sliding_window") if others is None else others + 1

    def with_tensors(self, names: Iterable[str]) -> Mimo2:
        """Return the family. Raises CheckpointError: queries, keys and values are in one matrix."""
        if any(name.endswith(".self_attn.qkv_proj.weight") for name in names):
            raise CheckpointError(
                "the checkpoint has queries, keys and values in one matrix, cut for several devices, as MiMo "
                "V2.5 has; those aren't read here: choose MiMo V2 Flash"
            )
        return self

    def metadata(self) -> Metadata:
        h, prefix, config = self.hyperparameters, self.gguf_name, self.config
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            **expert_count_metadata(prefix, h.n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.attention.head_count_kv": array(ValueType.INT32, tuple(map(self._kv, self.slides))),
            f"{prefix}.attention.key_length": uint32(self.head_dim),
            f"{prefix}.attention.value_length": uint32(self.value_dim),
            f"{prefix}.attention.sliding_window": uint32(self.window),
            f"{prefix}.attention.sliding_window_pattern": array(
                ValueType.INT32, tuple(map(int, self.slides))
            ),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.expert_gating_func": uint32(GATING["sigmoid"]),
            f"{prefix}.expert_group_count": uint32(config.size("n_group", 1)),
            f"{prefix}.expert_group_used_count": uint32(config.size("topk_group", 1)),
            f"{prefix}.rope.dimension_count": uint32(self.rotated),
            f"{prefix}.rope.freq_base": float32(self.rope.theta),
            f"{prefix}.rope.freq_base_swa": float32(self.local_theta),
        }
        scale = config.optional_number("attention_value_scale", 0.707)
        if scale is not None:
            keys[f"{prefix}.attention.value_scale"] = float32(scale)
        return keys

    def _kv(self, slides: bool) -> int:
        return self.window_kv_heads if slides else self.n_head_kv

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, n_embd = self.hyperparameters, self.hyperparameters.n_embd
        rules = self.outer_rules()
        for layer, slides in enumerate(self.slides):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            attention, n_kv = f"{source}.self_attn", self._kv(slides)
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", n_embd)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", n_embd)
            for part, rows in (
                ("q", h.n_head * self.head_dim),
                ("k", n_kv * self.head_dim),
                ("v", n_kv * self.value_dim),
            ):
                rules += linear_rules(f"{target}.attn_{part}", f"{attention}.{part}_proj", (rows, n_embd))
            rules += linear_rules(
                f"{target}.attn_output", f"{attention}.o_proj", (n_embd, h.n_head * self.value_dim)
            )
            has_sinks = self.config.flag(
                "add_swa_attention_sink_bias" if slides else "add_full_attention_sink_bias", slides
            )
            if has_sinks:
                rules.append(TensorRule(f"{target}.attn_sinks.weight", (f"{attention}.sinks",), (h.n_head,)))
            sparse = self.is_sparse[layer]
            rules += self._mixture_rules(source, target) if sparse else self.gated_rules(source, target)
        return rules

    def _mixture_rules(self, source: str, target: str) -> list[TensorRule]:
        h, mlp = self.hyperparameters, f"{source}.mlp"
        matrices = gated_matrices(PROJECTIONS, h.n_embd, self.size("moe_intermediate_size"))
        bias = (f"{mlp}.gate.e_score_correction_bias",)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{mlp}.gate", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.exp_probs_b.bias", bias, (h.n_expert,)),
            *expert_rules(target, f"{mlp}.experts", h.n_expert, matrices),
        ]
