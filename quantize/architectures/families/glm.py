"""GLM-4 as transformers has it: `GlmForCausalLM` (GLM-4-9B) and `Glm4ForCausalLM` (GLM-4-0414).

Half of each head is rotated, neighbours against each other, which is what llama.cpp does with both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
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
    null_kv_heads = False

    def metadata(self) -> Metadata:
        rotated = int(self.head_dim * self.rotary_share(0.5))
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


def missing_token_metadata(vocabulary: Vocabulary, texts: Mapping[str, str]) -> Metadata:
    """Return the keys of roles that the vocabulary doesn't give, by the texts of their tokens."""
    places = {token.text: place for place, token in enumerate(vocabulary.tokens)}
    return {
        f"tokenizer.ggml.{ID_KEYS[role]}": uint32(places[text])
        for role, text in texts.items()
        if role not in vocabulary.special.ids and text in places
    }
