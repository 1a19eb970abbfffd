"""BitNet b1.58: matrices of -1, 0 and 1 times one number, norms within attention and feed-forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, float32, string

SMALLEST_SCALE = 1e-5


@dataclass(frozen=True)
class Ternary:
    """A matrix rounded to -1, 0 and 1 times the mean of its absolute values, as its class computes with it.

    It is read whole: one block. In F16 the products are rounded once more, as there. A matrix that was packed
    has these numbers already.
    """

    n_rows: int

    @property
    def row_step(self) -> int:
        return self.n_rows

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        stored = source.rows(names[0], 0, self.n_rows)
        whole = stored.astype(np.float32)
        sizes = np.abs(whole)[whole != 0]
        if sizes.size and sizes.min() == sizes.max():
            return stored[start:stop]
        scale = np.float32(max(np.abs(whole).mean(dtype=np.float64), SMALLEST_SCALE))
        inverse = np.float32(1) / scale
        rounded = np.clip(np.rint(whole * inverse), -1, 1) / inverse
        narrow = stored.dtype if stored.dtype == np.float16 else np.dtype(np.float32)
        narrowed: Rows = rounded[start:stop].astype(narrow)
        return narrowed


class BitNet(LlamaLike):
    """BitnetForCausalLM. Microsoft's BitNetForCausalLM has another activation, squared ReLU."""

    gguf_name = "bitnet"
    huggingface_names: ClassVar[tuple[str, ...]] = ("BitnetForCausalLM", "BitNetForCausalLM")
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    has_output = False
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    refused_flags: ClassVar[dict[str, str]] = {"attention_bias": "has no place for biases"}
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        (".self_attn.attn_sub_norm.", ".self_attn.inner_attn_ln."),
        (".mlp.ffn_sub_norm.", ".mlp.ffn_layernorm."),
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.require_tied()

    def check_activation(self, name: str, known: Sequence[str]) -> None:
        """Check the activation, which BitNetForCausalLM has where config.json is silent, too."""
        if self.config.architecture() == "BitNetForCausalLM" and self.config.first([name]) is None:
            self.config = self.config.under(ModelConfig({name: "relu2"}))
        super().check_activation(name, known)

    def metadata(self) -> Metadata:
        scaling = f"{self.gguf_name}.rope.scaling"
        unscaled: Metadata = {f"{scaling}.type": string("linear"), f"{scaling}.factor": float32(1.0)}
        return unscaled | super().metadata()

    def matrix_rules(self, source: str, target: str, part: str, shape: tuple[int, int]) -> list[TensorRule]:
        (rule,) = super().matrix_rules(source, target, part, shape)
        return [TensorRule(rule.name, rule.sources, shape, Ternary(shape[0]))]

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        rules = super().layer_attention_rules(source, target)
        rules += norm_rules(f"{target}.attn_sub_norm", f"{source}.self_attn.inner_attn_ln", h.n_embd)
        return rules + norm_rules(f"{target}.ffn_sub_norm", f"{source}.mlp.ffn_layernorm", h.n_ff)
