"""GroveMoE: Qwen 3's mixture of experts, with a small expert that each pair of them shares."""

from __future__ import annotations

from typing import ClassVar

from quantize.architectures.base.moe import PROJECTIONS, gated_matrices
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Stack
from quantize.architectures.families.qwen3 import Qwen3Moe
from quantize.gguf.header import Metadata, float32, uint32

GROUP = 2
"""So many experts share a small one, which is fixed in the makers' code."""

GROUP_SCALE = 0.05
"""The weight of what the small experts add, fixed in the makers' code."""


class GroveMoe(Qwen3Moe):
    """GroveMoeForCausalLM."""

    gguf_name = "grovemoe"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "GroveMoeForCausalLM",
        "modeling_grove_moe.GroveMoeForCausalLM",
    )
    reads_back = False
    ignored_suffixes: ClassVar[tuple[str, ...]] = (*Qwen3Moe.ignored_suffixes, ".expert_bias")

    @property
    def chunk_size(self) -> int:
        """The rows of a small expert."""
        return self.config.optional_size("head_dim") or 128

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        return super().metadata() | {
            f"{prefix}.expert_chunk_feed_forward_length": uint32(self.chunk_size),
            f"{prefix}.experts_per_group": uint32(GROUP),
            f"{prefix}.expert_group_scale": float32(GROUP_SCALE),
        }

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        n_chunks, chunks = self.hyperparameters.n_expert // GROUP, f"{source}.mlp.chunk_experts"
        matrices = gated_matrices(PROJECTIONS, self.hyperparameters.n_embd, self.chunk_size)
        return [
            *super().feed_forward_rules(source, target),
            *(
                TensorRule(
                    f"{target}.ffn_{part}_chexps.weight",
                    tuple(f"{chunks}.{chunk}.{name}.weight" for chunk in range(n_chunks)),
                    (n_chunks, *shape),
                    Stack(n_chunks),
                )
                for part, (name, shape) in matrices.items()
            ),
        ]
