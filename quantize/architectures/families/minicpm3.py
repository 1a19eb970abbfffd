"""MiniCPM 3: DeepSeek's latent attention, with the matrix that makes keys and values as it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.families.minicpm import factor_rules
from quantize.gguf.header import Metadata, uint32

NEEDED_SCALES: Final = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256}
"""The scales that llama.cpp has built in, by their fields of config.json."""


class MiniCPM3(Decoder):
    """MiniCPM3ForCausalLM: llama.cpp makes every head's keys and values, and caches these."""

    gguf_name = "minicpm3"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MiniCPM3ForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 73448,
        "hidden_size": 2560,
        "intermediate_size": 6400,
        "num_hidden_layers": 62,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
        "max_position_embeddings": 32768,
        "kv_lora_rank": 256,
        "q_lora_rank": 768,
        "qk_nope_head_dim": 64,
        "qk_rope_head_dim": 32,
    }
    default_epsilon = 1e-5
    default_tied = True
    never_null: ClassVar[tuple[str, ...]] = ("scale_emb",)
    own_head_dim = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        self.plain_size, self.rotated = self.size("qk_nope_head_dim"), self.size("qk_rope_head_dim")
        self.latent, self.query_latent = self.size("kv_lora_rank"), self.size("q_lora_rank")
        self.value_size = config.optional_size("v_head_dim") or h.n_embd // h.n_head
        self.hyperparameters = dataclasses.replace(
            h, n_head_kv=h.n_head, n_embd_head_k=self.plain_size + self.rotated, n_embd_head_v=self.value_size
        )
        null = {"scale_depth": math.sqrt(h.n_layer), "dim_model_base": h.n_embd}
        for name, needed in NEEDED_SCALES.items():
            scale = config.optional_number(name, needed)
            if (null[name] if scale is None else scale) != needed:
                raise CheckpointError(
                    f"config.json has a {name} other than {needed:g}, which is what llama.cpp's "
                    f"`{self.gguf_name}` computes with"
                )

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.attention.q_lora_rank": uint32(self.query_latent),
            f"{prefix}.attention.kv_lora_rank": uint32(self.latent),
            f"{prefix}.attention.key_length": uint32(h.n_embd_head_k),
            f"{prefix}.rope.dimension_count": uint32(self.rotated),
        }
        if self.value_size != h.n_embd // h.n_head:
            keys[f"{prefix}.attention.value_length"] = uint32(self.value_size)
        if self.rope.kind == "longrope":
            return keys
        return keys | self.rope.metadata_unless_default(prefix, self.context_length)

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules() + factor_rules(self.rope, self.rotated, self.context_length)
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            rules += self._latent_rules(f"{source}.self_attn", target)
            rules += self.gated_rules(source, target)
        return rules

    def _latent_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's attention."""
        h, latent, query_latent = self.hyperparameters, self.latent, self.query_latent
        n_values = h.n_head * self.value_size
        n_made = h.n_head * self.plain_size + n_values
        n_q, down = h.n_head * h.n_embd_head_k, (latent + self.rotated, h.n_embd)
        return [
            *linear_rules(f"{target}.attn_q_a", f"{source}.q_a_proj", (query_latent, h.n_embd)),
            *norm_rules(f"{target}.attn_q_a_norm", f"{source}.q_a_layernorm", query_latent),
            *linear_rules(f"{target}.attn_q_b", f"{source}.q_b_proj", (n_q, query_latent)),
            *linear_rules(f"{target}.attn_kv_a_mqa", f"{source}.kv_a_proj_with_mqa", down),
            *norm_rules(f"{target}.attn_kv_a_norm", f"{source}.kv_a_layernorm", latent),
            *linear_rules(f"{target}.attn_kv_b", f"{source}.kv_b_proj", (n_made, latent)),
            *linear_rules(f"{target}.attn_output", f"{source}.o_proj", (h.n_embd, n_values)),
        ]
