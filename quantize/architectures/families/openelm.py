"""OpenELM: layers that differ in heads and width, norms of heads' queries and keys, q, k and v fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from models.errors import CheckpointError
from models.llamacpp.quantization.type_rules import ModelDescription
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SILU
from quantize.architectures.base.moe import fused_gate_up
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32

EPSILON = 1e-6


class OpenELM(Architecture):
    """OpenELMForCausalLM. Defaults and arithmetic are those of its makers' class."""

    gguf_name = "openelm"
    huggingface_names: ClassVar[tuple[str, ...]] = ("OpenELMForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "max_context_length": 2048,
        "num_transformer_layers": 12,
        "model_dim": 2048,
        "head_dim": 128,
        "num_gqa_groups": 1,
        "ffn_dim_divisor": 256,
    }
    base_prefix: ClassVar[str] = "transformer."

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.check_activation("activation_fn_name", SILU)
        for flag, default in {
            "normalize_qk_projections": False,
            "share_input_output_layers": False,
            "ffn_with_glu": True,
        }.items():
            if not config.flag(flag, default):
                raise CheckpointError(
                    f"config.json has {flag} false; llama.cpp's `openelm` computes models with it only"
                )
        n_layer, n_embd, n_groups = (
            self.size(name) for name in ("num_transformer_layers", "model_dim", "num_gqa_groups")
        )
        self.head_dim = self.size("head_dim")
        step = self.head_dim * n_groups
        self.heads = [
            _divisible(share * n_embd, step) // self.head_dim
            for share in self._shares("qkv_multipliers", 1.0, n_layer)
        ]
        self.kv_heads = [n // n_groups for n in self.heads]
        divisor = self.size("ffn_dim_divisor")
        self.widths = [
            _divisible(share * n_embd, divisor) for share in self._shares("ffn_multipliers", 4.0, n_layer)
        ]
        self.hyperparameters = ModelDescription(
            architecture=self.gguf_name,
            n_embd=n_embd,
            n_ff=self.widths[0],
            n_layer=n_layer,
            n_head=self.heads[0],
            n_head_kv=self.kv_heads[0],
            n_embd_head_k=self.head_dim,
            n_embd_head_v=self.head_dim,
        )

    def _shares(self, name: str, default: float, n_layer: int) -> Sequence[float]:
        """Return a multiplier for each layer: one for all, all of them, or the first and last one."""
        if not isinstance(self.config.raw(name), list):
            return (self.config.number(name, default),) * n_layer
        shares = self.config.numbers(name) or ()
        if len(shares) == 2 != n_layer:
            return [round(share, 2) for share in np.linspace(*shares, num=n_layer).tolist()]
        if len(shares) != n_layer:
            raise CheckpointError(
                f"config.json has {len(shares)} {name} for {n_layer} layers; expected are 2 or {n_layer}"
            )
        return shares

    @property
    def context_length(self) -> int:
        return self.size("max_context_length")

    @property
    def is_tied(self) -> bool:
        return True

    @property
    def tied_names(self) -> tuple[str, ...]:
        return ("transformer.token_embeddings.weight", "lm_head.weight")

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: an output matrix is a copy of the embedding."""
        return name in self.tied_names or super().is_needless(name)

    def metadata(self) -> Metadata:
        prefix, head_dim = self.gguf_name, uint32(self.head_dim)
        return {
            **self.common_metadata(),
            f"{prefix}.feed_forward_length": array(ValueType.INT32, self.widths),
            f"{prefix}.attention.head_count": array(ValueType.INT32, self.heads),
            f"{prefix}.attention.head_count_kv": array(ValueType.INT32, self.kv_heads),
            f"{prefix}.attention.layer_norm_rms_epsilon": float32(EPSILON),
            f"{prefix}.attention.key_length": head_dim,
            f"{prefix}.attention.value_length": head_dim,
            f"{prefix}.rope.dimension_count": head_dim,
            f"{prefix}.rope.freq_base": float32(self.config.number("rope_freq_constant", 10000)),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        embedding, head_dim = ("transformer.token_embeddings.weight",), self.head_dim
        rules = [
            TensorRule("token_embd.weight", embedding, (self.vocabulary_size, h.n_embd)),
            *norm_rules("output_norm", "transformer.norm", h.n_embd),
        ]
        for layer, (n_head, n_kv, n_ff) in enumerate(
            zip(self.heads, self.kv_heads, self.widths, strict=True)
        ):
            source, target = f"transformer.layers.{layer}", f"blk.{layer}"
            n_q, n_qkv = n_head * head_dim, (n_head + 2 * n_kv) * head_dim
            rules += norm_rules(f"{target}.attn_norm", f"{source}.attn_norm", h.n_embd)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.ffn_norm", h.n_embd)
            rules += linear_rules(f"{target}.attn_qkv", f"{source}.attn.qkv_proj", (n_qkv, h.n_embd))
            rules += linear_rules(f"{target}.attn_output", f"{source}.attn.out_proj", (h.n_embd, n_q))
            for part in ("q", "k"):
                rules += norm_rules(f"{target}.attn_{part}_norm", f"{source}.attn.{part}_norm", head_dim)
            for part in ("gate", "up"):
                fused, half = f"{source}.ffn.proj_1", fused_gate_up(part, n_ff)
                rules += linear_rules(f"{target}.ffn_{part}", fused, (n_ff, h.n_embd), half)
            rules += linear_rules(f"{target}.ffn_down", f"{source}.ffn.proj_2", (h.n_embd, n_ff))
        return rules


def _divisible(value: float, divisor: int) -> int:
    """Return the multiple of `divisor` next to `value`, not below nine tenths of it."""
    near = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return near if near >= 0.9 * value else near + divisor
