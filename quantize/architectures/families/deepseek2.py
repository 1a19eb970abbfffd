"""DeepSeek-V2 (and Lite) and V3: latent attention, experts.

Keys and values of all heads are one small latent vector per token (MLA), from which `kv_b_proj` makes each
head's. llama.cpp multiplies queries into the latent space instead, so that the cache holds the latent vector
only: `attn_k_b` is the key part of that matrix, head by head transposed, `attn_v_b` the value part, and the
file describes one key-value head as wide as the latent vector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Shape
from quantize.architectures.families.deepseek import DeepseekExperts
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, boolean, float32, uint32


@dataclass(frozen=True)
class HeadPart:
    """Rows [first, first + n) of each head's `of` rows, as a matrix per head: [heads, n, row], or transposed.

    `row_step` is the output's number of rows per head.
    """

    first: int
    of: int
    n: int
    row_step: int
    transposed: bool = False

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((shape[0] * self.of, shape[1] if self.transposed else shape[2]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        begin, end = start // self.row_step, -(-stop // self.row_step)
        rows = source.rows(names[0], begin * self.of, end * self.of)
        part = rows.reshape(end - begin, self.of, -1)[:, self.first : self.first + self.n]
        part = part.swapaxes(1, 2) if self.transposed else part
        at = begin * self.row_step
        return part.reshape(-1, part.shape[-1])[start - at : stop - at]


class Deepseek2(DeepseekExperts):
    """DeepseekV2ForCausalLM and DeepseekV3ForCausalLM, without the layers that predict further tokens."""

    gguf_name = "deepseek2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("DeepseekV2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "moe_intermediate_size": 1407,
    }
    default_routing: ClassVar[Mapping[str, Any]] = {
        "n_group": None,
        "topk_group": None,
        "routed_scaling_factor": 1.0,
        "norm_topk_prob": False,
    }
    """The routing of tokens to experts where config.json is silent; None stands for no groups."""

    aliases: ClassVar[Mapping[str, str]] = {"num_experts": "n_routed_experts"}
    default_epsilon = 1e-6
    own_head_dim = True
    may_predict_further = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.key_size, self.value_size = self.size("qk_nope_head_dim"), self.size("v_head_dim")
        self.rotated, self.latent = self.size("qk_rope_head_dim"), self.size("kv_lora_rank")
        self.query_latent = config.optional_size("q_lora_rank", self.defaults.get("q_lora_rank"))
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters,
            n_head_kv=1,
            n_embd_head_k=self.latent + self.rotated,
            n_embd_head_v=self.latent,
        )

    def _kv_heads(self, n_head: int) -> int:
        """Return as many as heads: each makes its keys and values from the latent vector."""
        return n_head

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            f"{prefix}.attention.kv_lora_rank": uint32(self.latent),
            f"{prefix}.attention.key_length": uint32(h.n_embd_head_k),
            f"{prefix}.attention.value_length": uint32(h.n_embd_head_v),
            f"{prefix}.attention.key_length_mla": uint32(self.key_size + self.rotated),
            f"{prefix}.attention.value_length_mla": uint32(self.value_size),
            f"{prefix}.rope.dimension_count": uint32(self.rotated),
            **self.expert_metadata(),
            **self._routing(),
        }
        if self.query_latent is not None:
            keys[f"{prefix}.attention.q_lora_rank"] = uint32(self.query_latent)
        mscale = self.rope.parameters.optional_number("mscale_all_dim")
        if mscale is not None:
            keys[f"{prefix}.rope.scaling.yarn_log_multiplier"] = float32(0.1 * mscale)
        return keys

    @property
    def chooses_groups(self) -> bool:
        """True if groups of experts are chosen first; DeepSeek-V2 may have groups and not use them."""
        return self.config.optional_text("topk_method", "greedy") != "greedy"

    def _routing(self) -> Metadata:
        config, prefix, default = self.config, self.gguf_name, self.default_routing
        keys: Metadata = {}
        for name, key in (("n_group", "expert_group_count"), ("topk_group", "expert_group_used_count")):
            groups = config.optional_size(name, default[name])
            if groups is not None and (self.chooses_groups or groups == 1):
                keys[f"{prefix}.{key}"] = uint32(groups)
        scale = config.number("routed_scaling_factor", default["routed_scaling_factor"])
        keys[f"{prefix}.expert_weights_scale"] = float32(scale)
        if config.optional_flag("norm_topk_prob", default["norm_topk_prob"]):
            keys[f"{prefix}.expert_weights_norm"] = boolean(True)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += self.attention_layer_rules(layer)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            rules += self.feed_forward_rules(layer)
            if layer >= self.dense_layers:
                # V3's, by which experts are chosen but not weighed.
                offsets = (f"{source}.mlp.gate.e_score_correction_bias",)
                rules.append(TensorRule(f"{target}.exp_probs_b.bias", offsets, (h.n_expert,), optional=True))
        return rules

    def attention_layer_rules(self, layer: int) -> list[TensorRule]:
        """Return the rules of a layer's attention."""
        source, target = f"model.layers.{layer}.self_attn", f"blk.{layer}"
        return [*self._query_rules(source, target), *self._latent_rules(source, target)]

    def _query_rules(self, source: str, target: str) -> list[TensorRule]:
        h, latent = self.hyperparameters, self.query_latent
        n_q = h.n_head * (self.key_size + self.rotated)
        if latent is None:
            return linear_rules(f"{target}.attn_q", f"{source}.q_proj", (n_q, h.n_embd))
        return [
            *linear_rules(f"{target}.attn_q_a", f"{source}.q_a_proj", (latent, h.n_embd)),
            *norm_rules(f"{target}.attn_q_a_norm", f"{source}.q_a_layernorm", latent),
            *linear_rules(f"{target}.attn_q_b", f"{source}.q_b_proj", (n_q, latent)),
        ]

    def _latent_rules(self, source: str, target: str) -> list[TensorRule]:
        h, latent, of = self.hyperparameters, self.latent, self.key_size + self.value_size
        keys = HeadPart(0, of, self.key_size, row_step=latent, transposed=True)
        values = HeadPart(self.key_size, of, self.value_size, row_step=self.value_size)
        down, matrix = (latent + self.rotated, h.n_embd), (f"{source}.kv_b_proj.weight",)
        output = (h.n_embd, h.n_head * self.value_size)
        return [
            *linear_rules(f"{target}.attn_kv_a_mqa", f"{source}.kv_a_proj_with_mqa", down),
            *norm_rules(f"{target}.attn_kv_a_norm", f"{source}.kv_a_layernorm", latent),
            TensorRule(f"{target}.attn_k_b.weight", matrix, (h.n_head, latent, self.key_size), keys),
            TensorRule(f"{target}.attn_v_b.weight", matrix, (h.n_head, self.value_size, latent), values),
            *linear_rules(f"{target}.attn_output", f"{source}.o_proj", output),
        ]


class Deepseek3(Deepseek2):
    """DeepseekV3ForCausalLM, with the defaults of its configuration."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("DeepseekV3ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **Deepseek2.defaults,
        "vocab_size": 129280,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "max_position_embeddings": 4096,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "moe_intermediate_size": 2048,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
    }
    default_routing: ClassVar[Mapping[str, Any]] = {
        "n_group": 8,
        "topk_group": 4,
        "routed_scaling_factor": 2.5,
        "norm_topk_prob": True,
    }
    aliases: ClassVar[Mapping[str, str]] = {"num_local_experts": "n_routed_experts"}
    default_gating = "sigmoid"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not config.optional_flag("rope_interleave", True):
            raise CheckpointError(
                "config.json has rope_interleave false; llama.cpp's `deepseek2` rotates neighbours only"
            )

    @property
    def chooses_groups(self) -> bool:
        """Always true: it is this generation's only way."""
        return True
