"""GLM-4 as transformers has it: `GlmForCausalLM` (GLM-4-9B) and `Glm4ForCausalLM` (GLM-4-0414).

Half of each head is rotated, neighbours against each other, which is what llama.cpp does with both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from quantize.architectures.base.decoder import SEEING_AND_HEARING, Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import HeadHalves
from quantize.gguf.header import Metadata, boolean, uint32
from quantize.vocabulary.vocabulary import ID_KEYS, Vocabulary

GLM_TOKENS = {"eos": "<|endoftext|>", "eot": "<|user|>", "unk": "<|endoftext|>"}
"""The special tokens that a GLM's tokenizer files don't name, by their roles."""


class Glm(Decoder):
    """GlmForCausalLM, a `chatglm` for llama.cpp.

    The converter reads ChatGLM's names only and so writes an embedding's size as the context length, and
    1e-5 for the norms' epsilon; here they are config.json's.
    """

    gguf_name = "chatglm"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GlmForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 13696,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
    }
    default_epsilon = 1.5625e-7
    default_share: ClassVar[float] = 0.5
    """The rotated part of each head where config.json is silent."""

    null_kv_heads = False

    def metadata(self) -> Metadata:
        rotated = int(self.head_dim * self.rotary_share(self.default_share))
        return {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            f"{self.gguf_name}.rope.dimension_count": uint32(rotated),
            **self.rope.metadata(self.gguf_name, self.context_length),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules()
        for layer in range(self.hyperparameters.n_layer):
            rules += self.layer_rules(f"model.layers.{layer}", f"blk.{layer}")
        return rules

    def layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        biased = self.config.flag("attention_bias", True)
        return [
            *norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd),
            *self.attention_rules(source, target, qkv_bias=biased),
            *norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd),
            *linear_rules(f"{target}.ffn_up", f"{source}.mlp.gate_up_proj", (2 * h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{source}.mlp.down_proj", (h.n_embd, h.n_ff)),
        ]

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        no_bos: Metadata = {"tokenizer.ggml.add_bos_token": boolean(False)}
        return no_bos | missing_token_metadata(vocabulary, GLM_TOKENS)


class Glm4(Glm):
    """Glm4ForCausalLM: two norms more per layer."""

    gguf_name = "glm4"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Glm4ForCausalLM",)
    own_head_dim = True

    def metadata(self) -> Metadata:
        return super().metadata() | self.head_size_metadata()

    def layer_rules(self, source: str, target: str) -> list[TensorRule]:
        n_embd = self.hyperparameters.n_embd
        return [
            *super().layer_rules(source, target),
            *norm_rules(f"{target}.post_attention_norm", f"{source}.post_self_attn_layernorm", n_embd),
            *norm_rules(f"{target}.post_ffw_norm", f"{source}.post_mlp_layernorm", n_embd),
        ]

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        return missing_token_metadata(vocabulary, {**GLM_TOKENS, "bos": "<|endoftext|>"})


class Glm4v(Glm4):
    """Glm4vForConditionalGeneration, GLM-4.1V: the text model.

    With M-RoPE llama.cpp rotates halves, so that the rotated part of queries and keys is put in that order.
    """

    huggingface_names: ClassVar[tuple[str, ...]] = ("Glm4vForConditionalGeneration",)
    defaults: ClassVar[dict[str, int]] = {
        **{name: size for name, size in Glm4.defaults.items() if name != "head_dim"},
        "max_position_embeddings": 32768,
    }
    default_epsilon = 1e-5
    null_kv_heads = True
    sections: ClassVar[tuple[str, ...]] = ("text_config",)
    ignored_prefixes: ClassVar[tuple[str, ...]] = SEEING_AND_HEARING

    def metadata(self) -> Metadata:
        keys = Glm.metadata(self) | self.rope.section_metadata(self.gguf_name, (8, 12, 12))
        return keys | self.head_size_metadata() if self.config.has("head_dim") else keys

    def layer_rules(self, source: str, target: str) -> list[TensorRule]:
        rotated = int(self.head_dim * self.rotary_share(self.default_share))
        halves = HeadHalves(self.head_dim, rotated)
        return [
            dataclasses.replace(rule, transform=halves)
            if rule.name.startswith((f"{target}.attn_q.", f"{target}.attn_k."))
            else rule
            for rule in super().layer_rules(source, target)
        ]


def missing_token_metadata(vocabulary: Vocabulary, texts: Mapping[str, str]) -> Metadata:
    """Return the keys of roles that the vocabulary doesn't give, by the texts of their tokens."""
    places = {token.text: place for place, token in enumerate(vocabulary.tokens)}
    return {
        f"tokenizer.ggml.{ID_KEYS[role]}": uint32(places[text])
        for role, text in texts.items()
        if role not in vocabulary.special.ids and text in places
    }
