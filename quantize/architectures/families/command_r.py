"""Command-R, Command-R+ and Aya (Cohere 1), and Command-R7B (Cohere 2).

Attention and feed-forward are side by side behind one norm without shift; embeddings are tied, logits scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.sliding_window import sliding_window_metadata
from quantize.gguf.header import Metadata, float32, string, uint32

COHERE_SIZES = {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "max_position_embeddings": 8192,
}
LAYERS_WITH_HEAD_NORMS = 64
"""The number of layers from which on llama.cpp expects norms of queries and keys: Command-R+."""


class CommandR(Decoder):
    """CohereForCausalLM. Its configuration may have the 128 Ki tokens of the training besides 8,192."""

    gguf_name = "command-r"
    huggingface_names: ClassVar[tuple[str, ...]] = ("CohereForCausalLM",)
    defaults: ClassVar[dict[str, int]] = COHERE_SIZES
    default_theta = 500000.0
    default_tied = True
    has_output = False
    epsilon_names = ("layer_norm_eps",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.require_tied()
        if config.flag("attention_bias", False):
            raise CheckpointError(
                f"config.json has attention_bias true; llama.cpp's `{self.gguf_name}` has no place for all "
                "these biases"
            )
        if self.rope.kind not in ("default", "dynamic"):
            raise CheckpointError(
                f"config.json has rope_type {self.rope.kind!r}; llama.cpp's `{self.gguf_name}` doesn't scale"
            )
        self._check_head_norms()

    def _check_head_norms(self) -> None:
        n_layer, has_norms = self.hyperparameters.n_layer, self.has_head_norms
        if has_norms != (n_layer >= LAYERS_WITH_HEAD_NORMS):
            raise CheckpointError(
                f"config.json has use_qk_norm {has_norms} for {n_layer} layers; llama.cpp's `command-r` "
                f"expects these norms from {LAYERS_WITH_HEAD_NORMS} layers on, and only there"
            )

    @property
    def has_head_norms(self) -> bool:
        return self.config.optional_flag("use_qk_norm", False)

    @property
    def context_length(self) -> int:
        return self.config.optional_size("model_max_length") or super().context_length

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = self.size_metadata() | self.epsilon_metadata("layer_norm_epsilon")
        keys |= self.rope.metadata(prefix, self.context_length)
        keys[f"{prefix}.rope.scaling.type"] = string("none")
        keys[f"{prefix}.logit_scale"] = float32(self.config.number("logit_scale", 0.0625))
        return keys if self.config.optional_size("head_dim") is None else keys | self.head_size_metadata()

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += self.attention_rules(source, target)
            if self.has_head_norms:
                for part, n_head in (("q", h.n_head), ("k", h.n_head_kv)):
                    name = f"{source}.self_attn.{part}_norm.weight"
                    shape = (n_head, self.head_dim)
                    rules.append(TensorRule(f"{target}.attn_{part}_norm.weight", (name,), shape))
            rules += self.gated_rules(source, target)
        return rules


class Cohere2(CommandR):
    """Cohere2ForCausalLM: a sliding window with rotary positions in three of four layers."""

    gguf_name = "cohere2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Cohere2ForCausalLM",)
    default_theta = 10000.0
    window_period: ClassVar[int] = 4

    def _check_head_norms(self) -> None:
        if self.has_head_norms:
            raise CheckpointError("config.json has use_qk_norm; llama.cpp's `cohere2` has no such norms")

    @property
    def context_length(self) -> int:
        return self.size("max_position_embeddings")

    def metadata(self) -> Metadata:
        prefix, h = self.gguf_name, self.hyperparameters
        window = self.config.size("sliding_window", 4096)
        return {
            **super().metadata(),
            **self.head_size_metadata(),
            **sliding_window_metadata(self.config, prefix, h.n_layer, window, self.window_period),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.rope.dimension_count": uint32(
                int(self.config.number("rotary_pct", 1.0) * self.head_dim)
            ),
        }
