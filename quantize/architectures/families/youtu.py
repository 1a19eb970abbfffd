"""Youtu-LLM: DeepSeek's latent attention without experts, and the text part of the Youtu that sees."""

from __future__ import annotations

from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.families.deepseek2 import Deepseek2
from quantize.gguf.header import Metadata


class Youtu(Deepseek2):
    """YoutuForCausalLM and YoutuVLForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("YoutuForCausalLM", "YoutuVLForConditionalGeneration")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "qk_nope_head_dim": 128,
        "max_position_embeddings": 131072,
    }
    aliases: ClassVar[dict[str, str]] = {}
    default_tied = True
    ignored_prefixes = ("siglip2.", "merger.")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config"))
        if self.hyperparameters.n_expert or not self.config.optional_flag("rope_interleave", True):
            raise CheckpointError(
                "config.json has n_routed_experts, which no Youtu has, or rope_interleave false, which "
                "llama.cpp's `deepseek2` doesn't compute"
            )

    @property
    def expert_size(self) -> int:
        """The feed-forward's own: llama.cpp wants a size of experts in every file of this architecture."""
        return self.size("intermediate_size")

    def _routing(self) -> Metadata:
        return {}
