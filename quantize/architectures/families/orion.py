"""Orion: Llama with layer norms, whose epsilon config.json calls that of RMS norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.gguf.header import Metadata, string

CONTEXT_NAMES = ("max_sequence_length", "max_position_embeddings", "model_max_length")


class Orion(Decoder):
    """OrionForCausalLM, by its makers' code."""

    gguf_name = "orion"
    huggingface_names: ClassVar[tuple[str, ...]] = ("OrionForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 84608,
        "hidden_size": 4096,
        "intermediate_size": 15360,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
        "max_position_embeddings": 4096,
    }
    needs_output = True

    @property
    def context_length(self) -> int:
        """The number of tokens that the model was trained for."""
        return self.size(self.config.first(CONTEXT_NAMES) or "max_position_embeddings")

    def metadata(self) -> Metadata:
        keys = self.size_metadata() | self.epsilon_metadata("layer_norm_epsilon")
        keys |= self.rope.metadata_unless_default(self.gguf_name, self.context_length)
        return keys | {f"{self.gguf_name}.tensor_data_layout": string("Meta AI original pth")}

    def tensor_rules(self) -> Sequence[TensorRule]:
        n_embd = self.hyperparameters.n_embd
        rules = self.outer_rules(norm_bias=True)
        for layer in range(self.hyperparameters.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", n_embd, bias=True)
            rules += self.attention_rules(source, target)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", n_embd, bias=True)
            rules += self.gated_rules(source, target)
        return rules
