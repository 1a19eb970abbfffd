"""PLM: MiniCPM 3's attention with plain queries, and a feed-forward without a gate, of squared ReLUs."""

from __future__ import annotations

from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.families.minicpm3 import WholeLatent
from quantize.gguf.header import Metadata, uint32


class PLM(WholeLatent):
    """PLMForCausalLM. Its published files are complete, so no sizes are assumed."""

    gguf_name = "plm"
    huggingface_names: ClassVar[tuple[str, ...]] = ("PLMForCausalLM",)
    activations: ClassVar[tuple[str, ...]] = ("relu2",)
    default_tied = True
    default_epsilon = 1e-6
    has_output = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.require_tied()

    def metadata(self) -> Metadata:
        return {
            **super().metadata(),
            **self.rope.metadata(self.gguf_name, self.context_length),
            f"{self.gguf_name}.attention.value_length": uint32(self.value_size),
        }

    def gated_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of up and down; there is no gate."""
        h = self.hyperparameters
        return [
            *linear_rules(f"{target}.ffn_up", f"{source}.mlp.up_proj", (h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{source}.mlp.down_proj", (h.n_embd, h.n_ff)),
        ]
