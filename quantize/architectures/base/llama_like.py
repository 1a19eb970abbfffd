"""Decoders of Llama's shape: norm, attention, norm, gated feed-forward, under Llama's tensor names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.transform import RotaryHeads, Same, Transform
from quantize.gguf.header import Metadata

ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
FEED_FORWARD = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
HeadDimKeys = Literal["always", "configured", "never"]
QKV = ("attn_q", "attn_k", "attn_v")


class LlamaLike(Decoder):
    """A decoder of Llama's shape; its families state their differences as data."""

    default_epsilon = 1e-6
    norms: ClassVar[Mapping[str, str]] = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    """The norms of a layer: the GGUF name, and that in the checkpoint."""

    biases: ClassVar[Mapping[str, tuple[str, bool]]] = {}
    """The matrices that may have a bias, with the flag of config.json that says so and its default."""

    feed_forward: ClassVar[tuple[str, ...]] = ("ffn_gate", "ffn_up", "ffn_down")
    """The matrices of a layer's feed-forward, by their GGUF names; without a gate, the last two."""

    refused_flags: ClassVar[Mapping[str, str]] = {}
    """The flags of config.json that llama.cpp can't compute with, and what it does instead."""

    rotates_neighbours: ClassVar[bool] = False
    """True if llama.cpp rotates a head's numbers 0 and 1, 2 and 3 …; else its halves, like transformers."""

    head_dim_keys: ClassVar[HeadDimKeys] = "configured"
    """The condition for the keys of a head's size: "configured" stands for a head_dim in config.json."""

    norm_transform: ClassVar[Transform] = Same()
    """The transform of the norms over whole states: `Plus(1.0)` where they store what is added to one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for flag, instead in self.refused_flags.items():
            if config.flag(flag, False):
                raise CheckpointError(f"config.json has {flag}; llama.cpp's `{self.gguf_name}` {instead}")

    def metadata(self) -> Metadata:
        keys = (
            self.size_metadata()
            | self.epsilon_metadata()
            | self.rope.metadata(self.gguf_name, self.context_length)
        )
        if self.head_dim_keys == "always" or (
            self.head_dim_keys == "configured" and self.config.has("head_dim")
        ):
            keys |= self.head_size_metadata()
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(self.norm_transform)
        for layer in range(h.n_layer):
            rules += self.layer_rules(f"model.layers.{layer}", f"blk.{layer}")
        return rules

    def layer_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer."""
        n_embd, transform = self.hyperparameters.n_embd, self.norm_transform
        rules: list[TensorRule] = []
        for norm, name in self.norms.items():
            rules += norm_rules(f"{target}.{norm}", f"{source}.{name}", n_embd, transform)
        rules += self.layer_attention_rules(source, target)
        rules += self.feed_forward_rules(source, target)
        return rules

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's attention."""
        h = self.hyperparameters
        n_q, n_kv = h.n_head * self.head_dim, self.n_head_kv * self.head_dim
        return [
            *self.matrix_rules(source, target, "attn_q", (n_q, h.n_embd)),
            *self.matrix_rules(source, target, "attn_k", (n_kv, h.n_embd)),
            *self.matrix_rules(source, target, "attn_v", (n_kv, h.n_embd)),
            *self.matrix_rules(source, target, "attn_output", (h.n_embd, n_q)),
        ]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's feed-forward, of the parts in `feed_forward`; experts replace it."""
        h = self.hyperparameters
        rules: list[TensorRule] = []
        for part in self.feed_forward:
            shape = (h.n_embd, h.n_ff) if part == "ffn_down" else (h.n_ff, h.n_embd)
            rules += self.matrix_rules(source, target, part, shape)
        return rules

    def matrix_rules(self, source: str, target: str, part: str, shape: tuple[int, int]) -> list[TensorRule]:
        """Return the rules of a matrix and, where it may have one, of its bias."""
        name = (ATTENTION | FEED_FORWARD)[part]
        rotated = self.rotates_neighbours and part in ("attn_q", "attn_k")
        transform: Transform = RotaryHeads(self.head_dim) if rotated else Same()
        rules = [TensorRule(f"{target}.{part}.weight", (f"{source}.{name}.weight",), shape, transform)]
        if part in self.biases:
            optional = not self.config.flag(*self.biases[part])
            bias = (f"{source}.{name}.bias",)
            rules.append(TensorRule(f"{target}.{part}.bias", bias, shape[:1], transform, optional))
        return rules
