"""Gemma 1 and 2: norms whose weights are added to one, tied embeddings, GELU.

Gemma 2 adds norms behind attention and feed-forward, soft caps, and a sliding window in every other layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import GELU_TANH, Decoder
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.sliding_window import sliding_window_metadata
from quantize.architectures.base.transform import Plus
from quantize.gguf.header import Metadata, boolean, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary

END_OF_TURN = 107  # <end_of_turn> of every Gemma 1 vocabulary
ADD_ONE = Plus(1.0)


class Gemma(Decoder):
    """GemmaForCausalLM. Its first releases say `gelu` and mean the tanh form."""

    gguf_name = "gemma"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GemmaForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 256000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "max_position_embeddings": 8192,
    }
    default_epsilon = 1e-6
    default_tied = True
    null_kv_heads = False
    own_head_dim = True
    activations = ("gelu", *GELU_TANH)

    norms: ClassVar[tuple[tuple[str, str], ...]] = (
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
    )
    """The norms of a layer: the GGUF name, and that in the checkpoint."""

    has_output = False
    looks_ahead: ClassVar[bool] = False
    """True if llama.cpp lets tokens attend to later ones, as an embedder's do."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not self.has_output:
            self.require_tied()
        if bool(self.config.optional_flag("use_bidirectional_attention", False)) != self.looks_ahead:
            computed = "looks ahead, too" if self.looks_ahead else "looks back only"
            raise CheckpointError(
                f"config.json has {'no ' if self.looks_ahead else ''}use_bidirectional_attention; "
                f"llama.cpp's `{self.gguf_name}` {computed}"
            )

    def metadata(self) -> Metadata:
        return (
            self.size_metadata()
            | self.epsilon_metadata()
            | self.head_size_metadata()
            | self.rope.metadata_unless_default(self.gguf_name, self.context_length)
        )

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(ADD_ONE)
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            for gguf, huggingface in self.norms:
                rules += norm_rules(f"{target}.{gguf}", f"{source}.{huggingface}", h.n_embd, ADD_ONE)
            rules += self.attention_rules(source, target)
            rules += self.gated_rules(source, target)
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        keys = {"tokenizer.ggml.add_space_prefix": boolean(False)}
        if len(vocabulary.tokens) > END_OF_TURN:
            keys["tokenizer.ggml.eot_token_id"] = uint32(END_OF_TURN)
        return keys


class Gemma2(Gemma):
    """Gemma2ForCausalLM."""

    gguf_name = "gemma2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
    }
    activation_name = "hidden_activation"
    norms = (
        ("attn_norm", "input_layernorm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    )
    window_period: ClassVar[int] = 2
    largest_layers: ClassVar[int] = 46
    """The number of layers by which llama.cpp knows the 27 B model, which scales by the embedding's share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._check_scale()

    def _check_scale(self) -> None:
        """Check the queries' scale. Raises CheckpointError: not that of llama.cpp."""
        h = self.hyperparameters
        scale = h.n_embd // h.n_head if h.n_layer == self.largest_layers else self.head_dim
        scalar = self.config.number("query_pre_attn_scalar", 256)
        if scalar != scale:
            raise CheckpointError(
                f"config.json has query_pre_attn_scalar {scalar:g}; "
                f"llama.cpp's `{self.gguf_name}` computes with {scale} at these sizes"
            )

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        for name in ("attn_logit_softcapping", "final_logit_softcapping"):
            if self.config.first([name]) is not None and not self.config.has(name):
                raise CheckpointError(
                    f"config.json has {name} null; llama.cpp's `{prefix}` always caps, so write a number"
                )
        window = self.config.size("sliding_window", 4096)
        return super().metadata() | {
            f"{prefix}.attn_logit_softcapping": float32(self.config.number("attn_logit_softcapping", 50.0)),
            f"{prefix}.final_logit_softcapping": float32(self.config.number("final_logit_softcapping", 30.0)),
            **sliding_window_metadata(
                self.config, prefix, self.hyperparameters.n_layer, window, self.window_period
            ),
        }

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        del vocabulary
        return {"tokenizer.ggml.add_space_prefix": boolean(False)}
