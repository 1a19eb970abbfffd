"""GPT-2: learned positions, layer norms, weights stored as columns (Conv1D); and ruGPT-3 XL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Stack, Transpose
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


class RuGPT3XL(GPT2):
    """RuGPT3XLForCausalLM: GPT-2 under Llama's names, with weights as rows. Its defaults are its class's."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("RuGPT3XLForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 2048,
        "n_head": 16,
        "n_layer": 24,
        "context": 2048,
        "n_vocab": 50264,
    }
    activation_name = "hidden_act"
    epsilon_name = "layer_norm_eps"
    default_tied: ClassVar[bool | None] = False
    base_prefix = "model."
    embedding_name = "model.embed_tokens"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        kind = config.text("sparse_mode", "none")
        self.refuse(kind != "none", f"the sparse attention {kind!r}")

    def feed_forward(self, n_embd: int) -> int:
        del n_embd
        return self.config.size("intermediate_size", 8192)

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules("model.norm")
        positions = ("model.embed_positions.weight",)
        rules.append(TensorRule("position_embd.weight", positions, (self.context_length, h.n_embd), f32=True))
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            second, mlp = f"{source}.post_attention_layernorm", f"{source}.mlp"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, bias=True)
            rules += norm_rules(f"{target}.ffn_norm", second, h.n_embd, bias=True)
            for kind, shape in {"weight": (3 * h.n_embd, h.n_embd), "bias": (3 * h.n_embd,)}.items():
                parts = tuple(f"{source}.self_attn.{part}_proj.{kind}" for part in "qkv")
                rules.append(TensorRule(f"{target}.attn_qkv.{kind}", parts, shape, Stack(3, joined=True)))
            output = f"{source}.self_attn.o_proj"
            rules += linear_rules(f"{target}.attn_output", output, (h.n_embd, h.n_embd), bias=True)
            rules += linear_rules(f"{target}.ffn_up", f"{mlp}.up_proj", (h.n_ff, h.n_embd), bias=True)
            rules += linear_rules(f"{target}.ffn_down", f"{mlp}.down_proj", (h.n_embd, h.n_ff), bias=True)
        return rules


def _column_rules(target: str, source: str, shape: tuple[int, int]) -> list[TensorRule]:
    return [
        TensorRule(f"{target}.weight", (f"{source}.weight",), shape, Transpose(shape[0])),
        TensorRule(f"{target}.bias", (f"{source}.bias",), shape[:1]),
    ]
