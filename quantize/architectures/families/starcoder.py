"""StarCoder and SantaCoder (GPTBigCode), CodeShell: GPT-2 with few key-value heads, weights as rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike, fused_qkv
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Same, Transform
from quantize.gguf.header import Metadata, float32, string, uint32


class StarCoder(GPTLike):
    """GPTBigCodeForCausalLM. Without `multi_query` q, k and v are fused head by head."""

    gguf_name = "starcoder"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GPTBigCodeForCausalLM",)
    ignored_suffixes: ClassVar[tuple[str, ...]] = (
        *GPTLike.ignored_suffixes,
        ".attn.bias",
        ".attn.masked_bias",
    )
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size", "n_embd"),
        "n_head": ("num_attention_heads", "n_head"),
        "n_layer": ("num_hidden_layers", "n_layer"),
        "context": ("max_position_embeddings", "n_positions"),
    }
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "context": 1024,
        "n_vocab": 50257,
    }
    activation_name = "activation_function"
    embedding_name = "transformer.wte"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.refuse(not config.flag("scale_attn_weights", True), "attention without a scale")
        self.refuse(config.flag("add_cross_attention", False), "attention to another text")

    def kv_heads(self, n_head: int) -> int:
        return 1 if self.config.flag("multi_query", True) else n_head

    def feed_forward(self, n_embd: int) -> int:
        return self.config.optional_size("n_inner") or 4 * n_embd

    def metadata(self) -> Metadata:
        return {
            **self.size_metadata(),
            f"{self.gguf_name}.attention.head_count_kv": uint32(self.hyperparameters.n_head_kv),
        }

    def qkv(self) -> Transform:
        """Return the transform of a fused projection to all q, all k, all v."""
        h = self.hyperparameters
        return Same() if h.n_head_kv == 1 else fused_qkv(h.n_head, h.n_head_kv, self.head_dim)

    def position_rules(self) -> list[TensorRule]:
        """Return the rules of learned positions."""
        shape = (self.context_length, self.hyperparameters.n_embd)
        return [TensorRule("position_embd.weight", ("transformer.wpe.weight",), shape, f32=True)]

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        n_qkv = h.n_embd + 2 * h.n_head_kv * self.head_dim
        matrices = {
            "attn_qkv": ("attn.c_attn", (n_qkv, h.n_embd), self.qkv()),
            "attn_output": ("attn.c_proj", (h.n_embd, h.n_embd), Same()),
            "ffn_up": ("mlp.c_fc", (h.n_ff, h.n_embd), Same()),
            "ffn_down": ("mlp.c_proj", (h.n_embd, h.n_ff), Same()),
        }
        rules = [*self.outer_rules("transformer.ln_f"), *self.position_rules()]
        for layer in range(h.n_layer):
            source, target = f"transformer.h.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.ln_1", h.n_embd, bias=True)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.ln_2", h.n_embd, bias=True)
            for part, (name, shape, transform) in matrices.items():
                rules += linear_rules(f"{target}.{part}", f"{source}.{name}", shape, transform, bias=True)
        return rules


class CodeShell(StarCoder):
    """CodeShellForCausalLM: rotary positions. Defaults are those of its makers' class."""

    gguf_name = "codeshell"
    huggingface_names: ClassVar[tuple[str, ...]] = ("CodeShellForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 4096,
        "n_head": 32,
        "n_layer": 42,
        "context": 8192,
        "n_vocab": 70144,
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        kind = config.text("position_embedding_type", "rope")
        self.refuse(kind != "rope", f"positions of the kind {kind!r}")
        self.rope = Rope.of(config)
        self.rope.refuse_factors(self.gguf_name)

    def kv_heads(self, n_head: int) -> int:
        is_grouped = self.config.flag("group_query_attention", True)
        return self.config.size("num_query_groups", 8) if is_grouped else n_head

    def metadata(self) -> Metadata:
        scaling = f"{self.gguf_name}.rope.scaling"
        unscaled: Metadata = {f"{scaling}.type": string("linear"), f"{scaling}.factor": float32(1.0)}
        return super().metadata() | unscaled | self.rope.metadata(self.gguf_name, self.context_length)

    def outer_rules(self, norm: str) -> list[TensorRule]:
        """Return the rules of embedding, last norm and output matrix, which llama.cpp requires."""
        *others, output = super().outer_rules(norm)
        if self.is_tied:
            embedding = dataclasses.replace(
                output, sources=(f"{self.embedding_name}.weight",), optional=False
            )
            output = dataclasses.replace(output, optional=False, others=(embedding,))
        return [*others, output]

    def qkv(self) -> Transform:
        return Same()

    def position_rules(self) -> list[TensorRule]:
        return []
