"""Phi-3, 3.5 and 4: fused matrices, and rotary factors for short and for long contexts.

llama.cpp reads the sliding window of Phi-3 mini (2,047 or 262,144 tokens), and doesn't use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Constant
from quantize.gguf.header import Metadata, float32, uint32
from quantize.vocabulary.added_tokens import AS_MARKED, AddedTokenRules

VISION = ("vision_tower.", "mm_projector.")
LONGROPE = ("longrope", "su", "yarn")  # Phi-3's older names for its own scaling


class Phi3(Decoder):
    """Phi3ForCausalLM, and the text part of Phi4ForCausalLMV (Phi-4 with vision)."""

    gguf_name = "phi3"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Phi3ForCausalLM", "Phi4ForCausalLMV")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
    }
    added_token_rules: ClassVar[AddedTokenRules] = AS_MARKED

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        self.n_rot = int(self.rotary_share(1.0) * h.n_embd) // h.n_head
        self.factors = self._factors()

    def _factors(self) -> dict[str, tuple[float, ...]]:
        """Return the divisors of the rotary frequencies, `long` and `short`. Raises CheckpointError."""
        if self.rope.kind == "default":
            return {}
        if self.rope.kind not in LONGROPE:
            raise CheckpointError(
                f"rope_type {self.rope.kind!r} is not known for `{self.gguf_name}`; it has longrope only"
            )
        factors = {
            length: self.rope.parameters.numbers(f"{length}_factor") or () for length in ("long", "short")
        }
        if any(len(values) != self.n_rot // 2 for values in factors.values()):
            counts = " and ".join(f"{len(values)} {length}" for length, values in factors.items())
            raise CheckpointError(
                f"config.json has {counts} rotary factors; heads that rotate {self.n_rot} numbers need "
                f"{self.n_rot // 2} of each"
            )
        return factors

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: that of a vision tower."""
        return name.removeprefix("model.").startswith(VISION) or super().is_needless(name)

    @property
    def original_context_length(self) -> int:
        """The number of tokens that the model was first trained on, up to which the short factors hold."""
        return self.rope.original_context_length(self.defaults["original_max_position_embeddings"])

    def attention_factor(self) -> float:
        """Return the factor by which long contexts sharpen attention (https://arxiv.org/abs/2402.13753)."""
        said = self.rope.parameters.optional_number("attention_factor")
        if said is not None:
            return said
        ratio = self.context_length / self.original_context_length
        stretch = self.rope.parameters.optional_number("factor") or ratio
        return (
            math.sqrt(1 + math.log(stretch) / math.log(self.original_context_length)) if stretch > 1 else 1.0
        )

    def metadata(self) -> Metadata:
        rope = f"{self.gguf_name}.rope"
        keys = self.size_metadata() | self.epsilon_metadata()
        keys[f"{rope}.freq_base"] = float32(self.rope.theta)
        keys[f"{rope}.dimension_count"] = uint32(self.n_rot)
        keys[f"{rope}.scaling.original_context_length"] = uint32(self.original_context_length)
        if self.factors:
            keys[f"{rope}.scaling.attn_factor"] = float32(self.attention_factor())
        # Zero is said, too: by its absence llama.cpp knew older files.
        window = self.config.optional_size("sliding_window") or 0
        keys[f"{self.gguf_name}.attention.sliding_window"] = uint32(window)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        n_qkv = (h.n_head + 2 * h.n_head_kv) * self.head_dim
        rules = self.outer_rules() + self.factor_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += linear_rules(f"{target}.attn_qkv", f"{source}.self_attn.qkv_proj", (n_qkv, h.n_embd))
            rules += linear_rules(f"{target}.attn_output", f"{source}.self_attn.o_proj", (h.n_embd, h.n_embd))
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            rules += linear_rules(f"{target}.ffn_up", f"{source}.mlp.gate_up_proj", (2 * h.n_ff, h.n_embd))
            rules += linear_rules(f"{target}.ffn_down", f"{source}.mlp.down_proj", (h.n_embd, h.n_ff))
        return rules

    def factor_rules(self) -> list[TensorRule]:
        return [
            TensorRule(f"rope_factors_{length}.weight", (), (len(values),), Constant(values))
            for length, values in self.factors.items()
        ]
