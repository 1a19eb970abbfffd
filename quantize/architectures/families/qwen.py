"""The first Qwen: attention without grouped queries, in one matrix with biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata


class Qwen(Decoder):
    """QWenLMHeadModel. `intermediate_size` is that of gate and up together."""

    gguf_name = "qwen"
    huggingface_names: ClassVar[tuple[str, ...]] = ("QWenLMHeadModel",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 8192,
    }
    aliases: ClassVar[Mapping[str, str]] = {"kv_channels": "head_dim"}
    default_epsilon = 1e-6
    epsilon_names: ClassVar[tuple[str, ...]] = ("layer_norm_epsilon",)
    base_prefix = "transformer."
    embedding_name = "transformer.wte"
    last_norm_name = "transformer.ln_f"
    needs_output = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not config.flag("no_bias", True) or config.number("rotary_pct", 1.0) != 1.0:
            raise CheckpointError(
                "config.json has no_bias false or a rotary_pct other than 1; llama.cpp's `qwen` has biases "
                "of queries, keys and values only, and rotates heads as a whole"
            )

    def _read_rope(self) -> Rope:
        return Rope.of(self.config, self.default_theta, "rotary_emb_base")

    @property
    def context_length(self) -> int:
        """The tokens of `max_position_embeddings`, which older files call `seq_length`."""
        names = ("max_position_embeddings", "seq_length")
        return self.config.size(self.config.first(names) or names[0], self.defaults[names[0]])

    def metadata(self) -> Metadata:
        keys = self.common_metadata() | self.epsilon_metadata()
        return keys | self.rope.metadata(self.gguf_name, self.context_length)

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        n_embd, half, rules = h.n_embd, h.n_ff // 2, self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"transformer.h.{layer}", f"blk.{layer}"
            attention, mlp = f"{source}.attn", f"{source}.mlp"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.ln_1", n_embd)
            rules += linear_rules(
                f"{target}.attn_qkv", f"{attention}.c_attn", (3 * n_embd, n_embd), bias=True
            )
            rules += linear_rules(f"{target}.attn_output", f"{attention}.c_proj", (n_embd, n_embd))
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.ln_2", n_embd)
            rules += linear_rules(f"{target}.ffn_gate", f"{mlp}.w2", (half, n_embd))
            rules += linear_rules(f"{target}.ffn_up", f"{mlp}.w1", (half, n_embd))
            rules += linear_rules(f"{target}.ffn_down", f"{mlp}.c_proj", (n_embd, half))
        return rules
