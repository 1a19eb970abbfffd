"""Llama 1 to 3.x and the models made from them (Alpaca, Vicuna, Koala, WizardLM …), and Mistral.

Mistral's sliding window has no place in llama.cpp's `llama`, which attends to the whole context: the window
of the first Mistral 7B (4,096 tokens) is dropped here as in llama.cpp's converter, later ones have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import ATTENTION, FEED_FORWARD, HeadDimKeys, LlamaLike
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Constant
from quantize.gguf.header import Metadata, boolean, uint32
from quantize.vocabulary.vocabulary import Vocabulary

CODE_LLAMA_VOCABULARY = 32016
CODE_LLAMA_TOKENS = {"prefix": 32007, "suffix": 32008, "middle": 32009, "eot": 32010}
GRANITE_VOCABULARY = 49152
END_OF_TURN = "<|im_end|>"


class Llama(LlamaLike):
    """LlamaForCausalLM, and LlamaModel without an output matrix, which makes vectors."""

    gguf_name = "llama"
    headless_names: ClassVar[tuple[str, ...]] = ("LlamaModel", "LlamaBidirectionalModel")
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "LlamaForCausalLM",
        "LLaMAForCausalLM",
        "LlamaModel",
        "VLlama3ForCausalLM",
    )
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    biases: ClassVar[dict[str, tuple[str, bool]]] = {
        **dict.fromkeys(ATTENTION, ("attention_bias", False)),
        **dict.fromkeys(FEED_FORWARD, ("mlp_bias", False)),
    }
    own_head_dim = True
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    rotates_neighbours = True
    has_rope_factors = True

    def metadata(self) -> Metadata:
        return super().metadata() | {
            f"{self.gguf_name}.vocab_size": uint32(self.vocabulary_size),
            f"{self.gguf_name}.rope.dimension_count": uint32(self.head_dim),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = list(super().tensor_rules())
        factors = self.rope.llama3_factors(self.head_dim, self.context_length)
        if factors is not None:
            rules.append(TensorRule("rope_freqs.weight", (), (len(factors),), Constant(factors)))
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        keys: Metadata = {}
        prefix_space = vocabulary.tokenizer_config.get("add_prefix_space")
        if isinstance(prefix_space, bool):
            keys["tokenizer.ggml.add_space_prefix"] = boolean(prefix_space)
        if self.vocabulary_size == CODE_LLAMA_VOCABULARY:
            for name, token in CODE_LLAMA_TOKENS.items():
                keys[f"tokenizer.ggml.{name}_token_id"] = uint32(token)
        if self.vocabulary_size == GRANITE_VOCABULARY:
            keys["tokenizer.ggml.add_bos_token"] = boolean(False)
        return keys


class Mistral(Llama):
    """MistralForCausalLM."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("MistralForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **Llama.defaults,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
    }


class LlamaBidirectional(Llama):
    """LlamaBidirectionalModel, whose tokens see those behind them, too."""

    gguf_name = "llama-embed"
    huggingface_names: ClassVar[tuple[str, ...]] = ("LlamaBidirectionalModel",)

    def metadata(self) -> Metadata:
        return super().metadata() | {f"{self.gguf_name}.attention.causal": boolean(False)}


class IQuestCoder(Llama):
    """IQuestCoderForCausalLM."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("IQuestCoderForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 76800,
        "hidden_size": 5120,
        "intermediate_size": 27648,
        "num_hidden_layers": 80,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
    }
    default_epsilon = 1e-5
    refused_flags: ClassVar[dict[str, str]] = {"use_sliding_window": "attends to everything"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.optional_number("clip_qkv") is not None:
            raise CheckpointError(f"config.json has clip_qkv; llama.cpp's `{self.gguf_name}` doesn't clip")

    def _head_size(self, share: int) -> int:
        """Return the size of a head: 128, where config.json is silent, and the share where it is null."""
        return self.config.optional_size("head_dim", 128) or share


class InternLM3(Llama):
    """InternLM3ForCausalLM: biases of queries, keys and values by one flag, of the rest by another."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("InternLM3ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 128512,
        "hidden_size": 4096,
        "intermediate_size": 10240,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
    }
    aliases: ClassVar[dict[str, str]] = {"qkv_bias": "attention_bias", "bias": "mlp_bias"}
    default_epsilon = 1e-5
    biases: ClassVar[dict[str, tuple[str, bool]]] = {**Llama.biases, "attn_output": ("mlp_bias", False)}

    def _head_size(self, share: int) -> int:
        """Return the size of a head: 128, where config.json is silent, and the share where it is null."""
        return self.config.optional_size("head_dim", 128) or share

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Return the end of a chat model's turn, <|im_end|>, if it is a token of tokenizer_config.json."""
        prefix_space = vocabulary.tokenizer_config.get("add_prefix_space")
        keys: Metadata = {}
        if isinstance(prefix_space, bool):
            keys["tokenizer.ggml.add_space_prefix"] = boolean(prefix_space)
        added = vocabulary.tokenizer_config.get("added_tokens_decoder")
        for token_id, token in (added if isinstance(added, dict) else {}).items():
            if isinstance(token, dict) and token.get("content") == END_OF_TURN and token.get("special"):
                keys["tokenizer.ggml.eos_token_id"] = uint32(int(token_id))
        return keys
