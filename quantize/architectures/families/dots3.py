"""Dots 3 Note, text only: latent attention of two sizes, an indexer in some layers, windows.

Each head of attention has a gate; the part of a key that is rotated has a norm of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Scale
from quantize.architectures.families.deepseek2 import HeadPart
from quantize.architectures.families.deepseek32 import IndexedAttention
from quantize.architectures.families.glm import missing_token_metadata
from quantize.architectures.families.glm5 import ROUTING
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary

SLIDING = "sliding_attention"
KINDS = ("full_attention", "indexed_attention", SLIDING)
HEADWISE = ("attention_gate_type", "swa_attention_gate_type")


@dataclass(frozen=True)
class Heads:
    """The sizes of one kind of layer's attention."""

    n_head: int
    key_size: int
    value_size: int
    latent: int


class Dots3Note(IndexedAttention):
    """Dots3NoteTextForCausalLM, and the text part of the models that see and hear."""

    gguf_name = "dots3note"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Dots3NoteTextForCausalLM",
        "Dots3NoteForCausalLM",
        "Dots3NoteForConditionalGeneration",
    )
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 152064,
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "moe_intermediate_size": 1536,
        "num_hidden_layers": 46,
        "num_attention_heads": 128,
        "max_position_embeddings": 524288,
        "n_shared_experts": 1,
        "n_routed_experts": 256,
        "num_experts_per_tok": 8,
        "kv_lora_rank": 512,
        "q_lora_rank": 1024,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "qk_nope_head_dim": 128,
        "first_k_dense_replace": 1,
        "index_n_heads": 64,
        "index_head_dim": 128,
        "index_topk": 2048,
        "sliding_window": 512,
    }
    sliding_defaults: ClassVar[dict[str, int]] = {
        "num_attention_heads": 64,
        "q_lora_rank": 1024,
        "kv_lora_rank": 1024,
        "qk_nope_head_dim": 192,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    }
    """The sizes of layers with a window where config.json is silent."""

    default_routing: ClassVar[Mapping[str, Any]] = {**ROUTING, "routed_scaling_factor": 1.0}
    default_epsilon = 1e-5
    ignored_prefixes = ("vision_encoder.", "audio_encoder.", "mtp.")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config").with_aliases(self.aliases))
        config, n_layer = self.config, self.hyperparameters.n_layer
        self.sliding = self._sliding()
        self.full_heads = Heads(self.hyperparameters.n_head, self.key_size, self.value_size, self.latent)
        sizes = {name: self._sliding_size(name) for name in self.sliding_defaults}
        self.window_heads = Heads(
            sizes["num_attention_heads"],
            sizes["qk_nope_head_dim"],
            sizes["v_head_dim"],
            sizes["kv_lora_rank"],
        )
        shared = config.size(
            "moe_shared_expert_intermediate_size",
            config.size("shared_experts_intermediate_size", self.expert_size),
        )
        if (sizes["q_lora_rank"], sizes["qk_rope_head_dim"]) != (self.query_latent, self.rotated):
            raise CheckpointError(
                "config.json has other q_lora_rank or qk_rope_head_dim for layers with a window; llama.cpp's "
                "`dots3note` has one of each"
            )
        if shared != self.expert_size or not config.flag("use_dsa", True) or all(self.sliding):
            raise CheckpointError(
                "config.json has a shared expert of another size than the others, or no layer with an "
                "indexer; llama.cpp's `dots3note` computes neither"
            )
        if any(config.text(name, "headwise") != "headwise" for name in HEADWISE) or n_layer < 1:
            raise CheckpointError(
                "config.json has an attention gate that isn't headwise, which is all that llama.cpp computes"
            )

    def _sliding(self) -> tuple[bool, ...]:
        """Return for each layer True if it has a window. Raises CheckpointError."""
        n_layer, kinds = self.size("num_hidden_layers"), self.config.texts("layer_types")
        if kinds is None:
            windows = self.config.flag("use_sliding_window", True)
            return tuple(windows and layer >= 2 and layer % 4 != 1 for layer in range(n_layer))
        if len(kinds) < n_layer or not set(kinds) <= set(KINDS):
            raise CheckpointError(
                f"layer_types in config.json has {len(kinds)} entries, {', '.join(sorted(set(kinds)))}; "
                f"expected are {n_layer} of {', '.join(KINDS)}"
            )
        return tuple(kind == SLIDING for kind in kinds[:n_layer])

    def _sliding_size(self, name: str) -> int:
        """Return a size of layers with a window, by its own field or by the first such layer's section."""
        layers = self.config.section("per_layer_config") or ModelConfig({})
        first = next((str(layer) for layer, sliding in enumerate(self.sliding) if sliding), "")
        own = layers.section(first) or ModelConfig({})
        return self.config.size(f"swa_{name}", own.size(name, self.sliding_defaults[name]))

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set `local_theta`, the base of the others."""
        config = self.config
        nested = config.section("rope_parameters") or ModelConfig({})
        full = next((found for kind in KINDS[:2] if (found := nested.section(kind)) is not None), None)
        local = nested.section(SLIDING)
        if full is None and local is None:
            rope = Rope.of(config, self.default_theta)
            said = rope.parameters.first(["rope_theta"]) is not None
            self.local_theta = rope.theta if said else config.number("swa_rope_theta", 50000.0)
            return rope
        local = local or ModelConfig({})
        self.local_theta = local.number("rope_theta", config.number("swa_rope_theta", 50000.0))
        theta = config.number("rope_theta", self.default_theta)
        return Rope.of_section(full or ModelConfig({}), config, theta)

    def has_indexer(self, layer: int) -> bool:
        """Tell whether a layer chooses tokens, and has no window."""
        return not self.sliding[layer]

    def metadata(self) -> Metadata:
        attention, window = f"{self.gguf_name}.attention", self.window_heads
        n_heads = tuple(window.n_head if sliding else self.full_heads.n_head for sliding in self.sliding)
        n_window = self.config.optional_size("sliding_window_size") or self.size("sliding_window")
        return {
            **super().metadata(),
            f"{attention}.head_count": array(ValueType.INT32, n_heads),
            f"{attention}.sliding_window": uint32(n_window),
            f"{attention}.sliding_window_pattern": array(ValueType.BOOL, self.sliding),
            f"{attention}.kv_lora_rank_swa": uint32(window.latent),
            f"{attention}.key_length_swa": uint32(window.latent + self.rotated),
            f"{attention}.value_length_swa": uint32(window.latent),
            f"{attention}.key_length_mla_swa": uint32(window.key_size + self.rotated),
            f"{attention}.value_length_mla_swa": uint32(window.value_size),
            f"{attention}.indexer.types": array(ValueType.BOOL, [not sliding for sliding in self.sliding]),
            f"{self.gguf_name}.rope.freq_base_swa": float32(self.local_theta),
        }

    def _query_rules(self, source: str, target: str) -> list[TensorRule]:
        h, latent, heads = self.hyperparameters, self.query_latent, self._heads(target)
        assert latent is not None, "refused"
        n_q = heads.n_head * (heads.key_size + self.rotated)
        return [
            *linear_rules(f"{target}.attn_q_a", f"{source}.q_a_proj", (latent, h.n_embd)),
            *norm_rules(f"{target}.attn_q_a_norm", f"{source}.q_a_layernorm", latent, self._scale(latent)),
            *linear_rules(f"{target}.attn_q_b", f"{source}.q_b_proj", (n_q, latent)),
            *linear_rules(f"{target}.attn_gate", f"{source}.g_proj", (heads.n_head, h.n_embd)),
        ]

    def _latent_rules(self, source: str, target: str) -> list[TensorRule]:
        n_embd, heads = self.hyperparameters.n_embd, self._heads(target)
        n_head, key, value, latent = heads.n_head, heads.key_size, heads.value_size, heads.latent
        keys = HeadPart(0, key + value, key, row_step=latent, transposed=True)
        values = HeadPart(key, key + value, value, row_step=value)
        matrix, down = (f"{source}.kv_b_proj.weight",), (latent + self.rotated, n_embd)
        norm = self._scale(latent)
        return [
            *linear_rules(f"{target}.attn_kv_a_mqa", f"{source}.kv_a_proj_with_mqa", down),
            *norm_rules(f"{target}.attn_kv_a_norm", f"{source}.kv_a_layernorm", latent, norm),
            *norm_rules(f"{target}.attn_k_norm", f"{source}.k_rope_only_layernorm", self.rotated),
            TensorRule(f"{target}.attn_k_b.weight", matrix, (n_head, latent, key), keys),
            TensorRule(f"{target}.attn_v_b.weight", matrix, (n_head, value, latent), values),
            *linear_rules(f"{target}.attn_output", f"{source}.o_proj", (n_embd, n_head * value)),
        ]

    def _heads(self, target: str) -> Heads:
        return self.window_heads if self.sliding[int(target.removeprefix("blk."))] else self.full_heads

    def _scale(self, latent: int) -> Scale | None:
        """Return the transform of a latent vector's norm, behind which the vector is scaled."""
        scales = self.config.flag("apply_mla_qkv_lora_rescale", True)
        return Scale(math.sqrt(self.hyperparameters.n_embd / latent)) if scales else None

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        return missing_token_metadata(vocabulary, {"eot": "<|endofassistant|>"})
