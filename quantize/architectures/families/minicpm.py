"""MiniCPM 1, 2 and 4: Llama with scales of the embedding, of each layer's addition and of the logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import LlamaLike
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Constant
from quantize.gguf.header import Metadata, float32, string


class MiniCPM(LlamaLike):
    """MiniCPMForCausalLM, the dense ones."""

    gguf_name = "minicpm"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MiniCPMForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    default_tied = True
    rotates_neighbours = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.count("num_experts", 0) or config.flag("attention_bias", False):
            raise CheckpointError(
                "config.json has num_experts or attention_bias; llama.cpp's `minicpm` has no experts, and "
                "its converter no place for biases"
            )

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        depth, base = self.config.number("scale_depth", 1), self.config.divisor("dim_model_base", 1)
        keys = self.size_metadata() | self.epsilon_metadata()
        keys[f"{prefix}.embedding_scale"] = float32(self.config.number("scale_emb", 1))
        keys[f"{prefix}.residual_scale"] = float32(depth / math.sqrt(h.n_layer))
        keys[f"{prefix}.logit_scale"] = float32(h.n_embd / base)
        if self.config.has("head_dim"):
            keys |= self.head_size_metadata()
        if self.rope.kind != "longrope":
            return keys | self.rope.metadata(prefix, self.context_length)
        keys[f"{prefix}.rope.freq_base"] = float32(self.rope.theta)
        keys[f"{prefix}.rope.scaling.type"] = string("longrope")
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        return [*super().tensor_rules(), *factor_rules(self.rope, self.head_dim, self.context_length)]


def factor_rules(rope: Rope, rotated: int, context_length: int) -> list[TensorRule]:
    """Return the rules of long and short factors of the rotation's frequencies, where there are any.

    Raises CheckpointError: factors of another number, or of a context that was made longer, where MiniCPM
    would sharpen attention, too.
    """
    if rope.kind != "longrope":
        return []
    if rope.original_context_length(context_length) != context_length:
        raise CheckpointError(
            "config.json has another original_max_position_embeddings than max_position_embeddings; "
            "llama.cpp takes a MiniCPM's long factors only behind its whole context"
        )
    rules = []
    for length in ("long", "short"):
        values = rope.parameters.numbers(f"{length}_factor") or ()
        if len(values) != rotated // 2:
            raise CheckpointError(
                f"config.json has {len(values)} numbers as {length}_factor; the rotation needs {rotated // 2}"
            )
        rules.append(TensorRule(f"rope_factors_{length}.weight", (), (len(values),), Constant(tuple(values))))
    return rules
