"""Jais: GPT-2 with ALiBi, a gated feed-forward, and scaled embeddings and logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.transform import Scale, Transpose
from quantize.architectures.families.gpt2 import GPT2
from quantize.gguf.header import Metadata, float32

SLOPE_BITS: Final = 8.0
"""The power of two in the slopes of ALiBi's first heads, which all of these models have."""


class Jais(GPT2):
    """JAISLMHeadModel, by its makers' code."""

    gguf_name = "jais"
    huggingface_names: ClassVar[tuple[str, ...]] = ("JAISLMHeadModel",)
    reads_back = False
    ignored_suffixes: ClassVar[tuple[str, ...]] = (*GPT2.ignored_suffixes, ".relative_pe.slopes")
    activation_name = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.refuse(config.text("activation_function", "gelu") != "swiglu", "another activation than swiglu")
        self.refuse(
            config.text("position_embedding_type", "learned") != "alibi", "other positions than alibi"
        )
        by_size = config.flag(
            config.first(("mup_scale_qk_dot_by_d", "scale_qk_dot_by_d")) or "scale_qk_dot_by_d", False
        )
        self.refuse(not by_size, "attention that isn't scaled by the size of a head (scale_qk_dot_by_d)")

    def metadata(self) -> Metadata:
        return self.size_metadata() | {f"{self.gguf_name}.attention.max_alibi_bias": float32(SLOPE_BITS)}

    @property
    def _embedding_scale(self) -> float:
        name = self.config.first(("mup_embeddings_scale", "embeddings_scale"))
        return 1.0 if name is None else self.config.number(name)

    @property
    def _logit_scale(self) -> float:
        if self.config.first(("mup_output_alpha",)) is None:
            return self.config.number("width_scale", 1.0)
        return self.config.number("mup_output_alpha") * self.config.number("mup_width_scale")

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, (embedding, head) = self.hyperparameters, self._outer_names
        matrix, scaled = (self.vocabulary_size, h.n_embd), Scale(self._logit_scale)
        tied = (TensorRule("output.weight", (embedding,), matrix, scaled),) if self.is_tied else ()
        rules = [
            TensorRule("token_embd.weight", (embedding,), matrix, Scale(self._embedding_scale)),
            *norm_rules("output_norm", "transformer.ln_f", h.n_embd, bias=True),
            TensorRule("output.weight", (head,), matrix, scaled, others=tied),
        ]
        for layer in range(h.n_layer):
            source, target = f"transformer.h.{layer}", f"blk.{layer}"
            rules += self._layer_rules(source, target)
            gate, shape = f"{source}.mlp.c_fc2", (h.n_ff, h.n_embd)
            rules.append(
                TensorRule(f"{target}.ffn_gate.weight", (f"{gate}.weight",), shape, Transpose(h.n_ff))
            )
            rules.append(TensorRule(f"{target}.ffn_gate.bias", (f"{gate}.bias",), shape[:1]))
        return rules
