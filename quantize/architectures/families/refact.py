"""Refact 1.6B: linear attention biases (ALiBi), one key-value head, a gated feed-forward.

Its norms subtract the mean, which llama.cpp's `refact` leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Slice
from quantize.gguf.header import Metadata, float32, uint32

MULTIPLE = 256


class Refact(GPTLike):
    """GPTRefactForCausalLM, in the first release with unfused matrices."""

    gguf_name = "refact"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GPTRefactForCausalLM",)
    reads_back = False
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size", "n_embd"),
        "n_head": ("num_attention_heads", "n_head"),
        "n_layer": ("num_hidden_layers", "n_layer"),
        "context": ("max_position_embeddings", "n_positions"),
    }
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 2048,
        "n_head": 32,
        "n_layer": 32,
        "context": 4096,
        "n_vocab": 49216,
    }
    default_tied: ClassVar[bool | None] = False
    embedding_name = "transformer.wte"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.refuse(not config.flag("multi_query", True), "several key-value heads")

    def kv_heads(self, n_head: int) -> int:
        del n_head
        return 1

    def feed_forward(self, n_embd: int) -> int:
        n_inner = self.config.optional_size("n_inner") or 4 * n_embd
        return -(-(2 * n_inner // 3) // MULTIPLE) * MULTIPLE

    def metadata(self) -> Metadata:
        prefix = f"{self.gguf_name}.attention"
        return {
            **self.common_metadata(),
            f"{prefix}.layer_norm_rms_epsilon": float32(self.config.number(self.epsilon_name, 1e-5)),
            f"{prefix}.head_count_kv": uint32(1),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = [rule for rule in self.outer_rules("ln_f") if not rule.name.endswith(".bias")]
        for layer in range(h.n_layer):
            source, target = f"transformer.h.{layer}", f"blk.{layer}"
            attention, mlp = f"{source}.attn", f"{source}.mlp"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.ln_1", h.n_embd)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.ln_2", h.n_embd)
            rules += linear_rules(f"{target}.attn_q", f"{attention}.q", (h.n_embd, h.n_embd))
            rules += linear_rules(f"{target}.attn_output", f"{attention}.c_proj", (h.n_embd, h.n_embd))
            rules += linear_rules(f"{target}.ffn_down", f"{mlp}.c_proj", (h.n_embd, h.n_ff))
            fused = f"{attention}.kv.weight"
            for at, part in enumerate(("k", "v")):
                rules.append(self._half(f"{target}.attn_{part}", f"{attention}.{part}", fused, at))
            fused = f"{mlp}.gate_up_proj.weight"
            for at, (part, name) in enumerate({"gate": "linear_1", "up": "linear_3"}.items()):
                rules.append(self._half(f"{target}.ffn_{part}", f"{mlp}.{name}", fused, at))
        return rules

    def _half(self, target: str, alone: str, fused: str, at: int) -> TensorRule:
        """Return the rule of a matrix that is the first or second half of another one, or stands alone."""
        h = self.hyperparameters
        n = self.head_dim if ".attn_" in target else h.n_ff
        name, shape = f"{target}.weight", (n, h.n_embd)
        other = TensorRule(name, (f"{alone}.weight",), shape)
        return TensorRule(name, (fused,), shape, Slice(at * n, n, of=2 * n), others=(other,))
