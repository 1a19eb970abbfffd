"""SmallThinker: Llama with experts that are chosen before attention, windows in three of four layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys, LlamaLike
from quantize.architectures.base.moe import expert_count_metadata, expert_rules, gated_matrices, router_rule
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, uint32

WINDOW: Final = 4096
PERIOD: Final = 4
SOFTMAX: Final = 1
SIGMOID: Final = 2
"""The numbers of llama.cpp's gating functions."""


class SmallThinker(LlamaLike):
    """SmallThinkerForCausalLM. Defaults are those of its makers' class."""

    gguf_name = "smallthinker"
    huggingface_names: ClassVar[tuple[str, ...]] = ("SmallThinkerForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151936,
        "hidden_size": 1536,
        "moe_ffn_hidden_size": 768,
        "num_hidden_layers": 32,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "moe_num_primary_experts": 32,
        "moe_num_active_primary_experts": 4,
    }
    default_theta = 1e6
    default_tied: ClassVar[bool | None] = True
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        self.hyperparameters = dataclasses.replace(h, n_expert=self.size("moe_num_primary_experts"))
        windows = self._layout("sliding_window_layout", 0)
        self.has_window = any(windows)
        usual = tuple(int(self.has_window and layer % PERIOD != 0) for layer in range(h.n_layer))
        rotated = usual if self.has_window else (1,) * h.n_layer
        if windows != usual or self._layout("rope_layout", 1) != rotated:
            raise CheckpointError(
                "config.json has a sliding_window_layout or rope_layout that llama.cpp's `smallthinker`"
                " doesn't compute; it has no window and rotates in every layer, or both in all layers but"
                " each fourth, the first one included"
            )
        window = config.size("sliding_window_size", WINDOW)
        if self.has_window and window != WINDOW:
            raise CheckpointError(
                f"config.json has sliding_window_size {window}; llama.cpp's `smallthinker` computes {WINDOW}"
            )

    def _layout(self, name: str, default: int) -> Sequence[int]:
        """Return 0 or 1 for each layer."""
        layout = self.config.numbers(name)
        n_layer = self.size("num_hidden_layers")
        return (default,) * n_layer if layout is None else tuple(int(kind) for kind in layout)

    def size(self, name: str) -> int:
        """Return a size; that of the experts is the feed-forward's, too."""
        return super().size("moe_ffn_hidden_size" if name == "intermediate_size" else name)

    def metadata(self) -> Metadata:
        prefix, h = self.gguf_name, self.hyperparameters
        gating = SOFTMAX if self.config.flag("moe_primary_router_apply_softmax", False) else SIGMOID
        keys = super().metadata() | expert_count_metadata(
            prefix, h.n_expert, self.size("moe_num_active_primary_experts")
        )
        keys[f"{prefix}.expert_feed_forward_length"] = uint32(h.n_ff)
        keys[f"{prefix}.expert_gating_func"] = uint32(gating)
        if self.has_window:
            keys[f"{prefix}.attention.sliding_window"] = uint32(WINDOW)
        return keys

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, moe = self.hyperparameters, f"{source}.block_sparse_moe"
        matrices = gated_matrices({"gate": "gate", "up": "up", "down": "down"}, h.n_embd, h.n_ff)
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{moe}.primary_router", (h.n_expert, h.n_embd)),
            *expert_rules(target, f"{moe}.experts", h.n_expert, matrices),
        ]
