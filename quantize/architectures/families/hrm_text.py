"""HRM-Text: two stacks of layers, low and high, that are gone through in turns, many times.

A file has the layers of both once; its number of layers counts every time one is gone through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Slice
from quantize.gguf.header import Metadata, boolean, float32, uint32

GATED_ATTENTION = ("gate", "q", "k", "v")
"""The parts of `gqkv_proj` from the top."""


class HrmText(Decoder):
    """HrmTextForCausalLM. What may see all of the prompt (prefix_lm) sees what is before it only."""

    gguf_name = "hrm_text"
    huggingface_names: ClassVar[tuple[str, ...]] = ("HrmTextForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151808,
        "hidden_size": 1536,
        "intermediate_size": 4096,
        "num_hidden_layers": 16,
        "num_attention_heads": 12,
        "head_dim": 128,
        "max_position_embeddings": 2048,
        "H_cycles": 2,
        "L_cycles": 3,
    }
    default_epsilon = 1e-6
    own_head_dim = True
    weighs_norms = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for flag in ("attention_bias", "mlp_bias"):
            if config.flag(flag, False):
                raise CheckpointError(f"config.json has {flag}; llama.cpp's `{self.gguf_name}` has no biases")
        self.n_stack = config.optional_size("num_layers_per_stack") or self.size("num_hidden_layers")
        self.n_high, self.n_low = self.size("H_cycles"), self.size("L_cycles")
        n_layer = self.n_stack * self.n_high * (self.n_low + 1)
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_layer=n_layer)

    def _kv_heads(self, n_head: int) -> int:
        """Return as many as heads."""
        return n_head

    def metadata(self) -> Metadata:
        prefix, config = self.gguf_name, self.config
        scale = config.optional_number("embedding_scale")
        if scale is None:
            scale = 1.0 / config.divisor("initializer_range", 0.02)
        return {
            **self.common_metadata(),
            **self.epsilon_metadata(),
            **self.head_size_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            f"{prefix}.rope.dimension_count": uint32(self.head_dim),
            f"{prefix}.embedding_scale": float32(scale),
            f"{prefix}.hrm.layers_per_stack": uint32(self.n_stack),
            f"{prefix}.hrm.h_cycles": uint32(self.n_high),
            f"{prefix}.hrm.l_cycles": uint32(self.n_low),
            f"{prefix}.hrm.prefix_lm": boolean(config.flag("prefix_lm", True)),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        n_embd = self.hyperparameters.n_embd
        rules = [*self.outer_rules(), TensorRule("hrm.z_l_init", ("model.z_L_init",), (n_embd,))]
        for layer in range(2 * self.n_stack):
            stack, at = ("L", layer) if layer < self.n_stack else ("H", layer - self.n_stack)
            rules += self._layer_rules(f"model.{stack}_module.layers.{at}", f"blk.{layer}")
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h, attention, mlp = self.hyperparameters, f"{source}.self_attn", f"{source}.mlp"
        n_q = h.n_head * self.head_dim
        rules = [
            _part(
                f"{target}.attn_{part}",
                f"{attention}.{part}_proj",
                f"{source}.attn.gqkv_proj",
                (n_q, h.n_embd),
                at,
                4,
            )
            for at, part in enumerate(GATED_ATTENTION)
        ]
        rules += [
            _part(
                f"{target}.ffn_{part}", f"{mlp}.{part}_proj", f"{mlp}.gate_up_proj", (h.n_ff, h.n_embd), at, 2
            )
            for at, part in enumerate(("gate", "up"))
        ]
        output = TensorRule(f"{target}.attn_output.weight", (f"{attention}.o_proj.weight",), (h.n_embd, n_q))
        fused_form = dataclasses.replace(output, sources=(f"{source}.attn.o_proj.weight",))
        down = TensorRule(f"{target}.ffn_down.weight", (f"{mlp}.down_proj.weight",), (h.n_embd, h.n_ff))
        return [*rules, dataclasses.replace(output, others=(fused_form,)), down]


def _part(target: str, source: str, fused: str, shape: tuple[int, int], at: int, of: int) -> TensorRule:
    """Return the rule of a matrix that may be one of `of` in a fused one."""
    n = shape[0]
    other = TensorRule(f"{target}.weight", (f"{fused}.weight",), shape, Slice(at * n, n, of=of * n))
    return TensorRule(f"{target}.weight", (f"{source}.weight",), shape, others=(other,))
