"""GPT-2: learned positions, layer norms, weights stored as columns (Conv1D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.transform import Transpose
from quantize.gguf.header import Metadata


class GPT2(GPTLike):
    """GPT2LMHeadModel. Published checkpoints lack the names' `transformer.` and carry causal masks."""

    gguf_name = "gpt2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GPT2LMHeadModel",)
    ignored_suffixes: ClassVar[tuple[str, ...]] = (".attn.bias", ".attn.masked_bias")
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size", "n_embd"),
        "n_head": ("num_attention_heads", "n_head"),
        "n_layer": ("num_hidden_layers", "n_layer"),
        "context": ("max_position_embeddings", "n_positions", "n_ctx"),
    }
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "context": 1024,
        "n_vocab": 50257,
    }
    activation_name: ClassVar[str | None] = "activation_function"
    embedding_name = "transformer.wte"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.refuse(not config.flag("scale_attn_weights", True), "attention without a scale")
        self.refuse(config.flag("scale_attn_by_inverse_layer_idx", False), "attention scaled by layer")

    def feed_forward(self, n_embd: int) -> int:
        return self.config.optional_size("n_inner") or 4 * n_embd

    def metadata(self) -> Metadata:
        return self.size_metadata()

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        positions = (self.context_length, h.n_embd)
        rules = [
            *self.outer_rules("transformer.ln_f"),
            TensorRule("position_embd.weight", ("transformer.wpe.weight",), positions, f32=True),
        ]
        for layer in range(h.n_layer):
            rules += self._layer_rules(f"transformer.h.{layer}", f"blk.{layer}")
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        return [
            *norm_rules(f"{target}.attn_norm", f"{source}.ln_1", h.n_embd, bias=True),
            *norm_rules(f"{target}.ffn_norm", f"{source}.ln_2", h.n_embd, bias=True),
            *_column_rules(f"{target}.attn_qkv", f"{source}.attn.c_attn", (3 * h.n_embd, h.n_embd)),
            *_column_rules(f"{target}.attn_output", f"{source}.attn.c_proj", (h.n_embd, h.n_embd)),
            *_column_rules(f"{target}.ffn_up", f"{source}.mlp.c_fc", (h.n_ff, h.n_embd)),
            *_column_rules(f"{target}.ffn_down", f"{source}.mlp.c_proj", (h.n_embd, h.n_ff)),
        ]


def _column_rules(target: str, source: str, shape: tuple[int, int]) -> list[TensorRule]:
    return [
        TensorRule(f"{target}.weight", (f"{source}.weight",), shape, Transpose(shape[0])),
        TensorRule(f"{target}.bias", (f"{source}.bias",), shape[:1]),
    ]
