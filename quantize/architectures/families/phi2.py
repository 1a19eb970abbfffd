"""Phi-1, 1.5 and 2: attention and feed-forward side by side behind one norm, biases, partial rotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import GELU_TANH, Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata, boolean, uint32


class Phi2(Decoder):
    """PhiForCausalLM."""

    gguf_name = "phi2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("PhiForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 51200,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    epsilon_names = ("layer_norm_eps", "layer_norm_epsilon")
    activations = GELU_TANH
    needs_output = True
    last_norm_name = "model.final_layernorm"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        if h.n_head_kv != h.n_head:
            raise CheckpointError(
                f"config.json has {h.n_head_kv} key-value heads for {h.n_head} heads; "
                "llama.cpp's `phi2` has as many of both"
            )

    def metadata(self) -> Metadata:
        h = self.hyperparameters
        n_rot = int(self.rotary_share(0.5) * h.n_embd) // h.n_head
        return {
            **self.size_metadata(),
            **self.epsilon_metadata("layer_norm_epsilon"),
            **self.rope.metadata_unless_default(self.gguf_name, self.context_length),
            f"{self.gguf_name}.rope.dimension_count": uint32(n_rot),
            # A tokenizer that says otherwise has the last word.
            "tokenizer.ggml.add_bos_token": boolean(False),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(norm_bias=True)
        rules.append(TensorRule("output.bias", ("lm_head.bias",), (self.vocabulary_size,)))
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, bias=True)
            rules += self.attention_rules(source, target, qkv_bias=True, output="dense", output_bias=True)
            rules += linear_rules(f"{target}.ffn_up", f"{source}.mlp.fc1", (h.n_ff, h.n_embd), bias=True)
            rules += linear_rules(f"{target}.ffn_down", f"{source}.mlp.fc2", (h.n_embd, h.n_ff), bias=True)
        return rules
