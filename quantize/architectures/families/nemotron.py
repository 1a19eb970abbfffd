"""Nemotron 4 and Minitron: norms that store what is added to one, squared ReLU without a gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Plus
from quantize.gguf.header import Metadata, string, uint32

ADD_ONE = Plus(1.0)


class Nemotron(Decoder):
    """NemotronForCausalLM."""

    gguf_name = "nemotron"
    huggingface_names: ClassVar[tuple[str, ...]] = ("NemotronForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 256000,
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "num_hidden_layers": 32,
        "num_attention_heads": 48,
        "max_position_embeddings": 4096,
    }
    epsilon_names = ("norm_eps",)
    activations = ("relu2",)
    needs_output = True

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        rotated = int(self.rotary_share(0.5) * self.hyperparameters.n_embd) // self.hyperparameters.n_head
        return {
            **self.size_metadata(),
            **self.epsilon_metadata("layer_norm_epsilon"),
            **self.head_size_metadata(),
            f"{prefix}.rope.scaling.type": string("none"),
            **self.rope.metadata(prefix, self.context_length),
            f"{prefix}.rope.dimension_count": uint32(rotated),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        attention, mlp = (self.config.flag(f"{part}_bias", False) for part in ("attention", "mlp"))
        rules = self.outer_rules(ADD_ONE, norm_bias=True)
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            up, down = (f"{source}.mlp.{part}_proj" for part in ("up", "down"))
            for norm, name in (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")):
                rules += norm_rules(f"{target}.{norm}", f"{source}.{name}", h.n_embd, ADD_ONE, bias=True)
            rules += self.attention_rules(source, target, qkv_bias=attention, output_bias=attention)
            rules += linear_rules(f"{target}.ffn_up", up, (h.n_ff, h.n_embd), bias=mlp)
            rules += linear_rules(f"{target}.ffn_down", down, (h.n_embd, h.n_ff), bias=mlp)
        return rules
