"""ChatGLM 2 and 3 and GLM-4 in their makers' own code: `ChatGLMModel` with names of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.families.glm import GLM_TOKENS, missing_token_metadata
from quantize.gguf.header import Metadata, boolean, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary


class ChatGLM(GPTLike):
    """ChatGLMModel. q, k and v are one below the other already; half of each head is rotated."""

    gguf_name = "chatglm"
    huggingface_names: ClassVar[tuple[str, ...]] = ("ChatGLMModel", "ChatGLMForConditionalGeneration")
    ignored_suffixes: ClassVar[tuple[str, ...]] = (".rotary_pos_emb.inv_freq",)
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size",),
        "n_head": ("num_attention_heads",),
        "n_layer": ("num_layers", "num_hidden_layers"),
        "context": ("seq_length",),
    }
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 4096,
        "n_head": 32,
        "n_layer": 28,
        "context": 2048,
        "n_vocab": 65024,
    }
    default_tied = False
    embedding_name = "transformer.embedding.word_embeddings"
    head_name = "transformer.output_layer"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        channels = config.size("kv_channels", self.head_dim)
        if channels != self.head_dim:
            raise CheckpointError(
                f"config.json has kv_channels {channels}, and {self.head_dim} by hidden_size and its heads; "
                "llama.cpp's `chatglm` has no heads of another size"
            )
        self.refuse(not config.flag("rmsnorm", True), "layer norms instead of RMS norms")
        self.refuse(not config.flag("post_layer_norm", True), "no norm after the last layer")
        after_norm = config.flag("apply_residual_connection_post_layernorm", False)
        self.refuse(after_norm, "residuals taken after the norm")
        self.refuse(config.flag("add_bias_linear", False), "biases in every layer")

    def kv_heads(self, n_head: int) -> int:
        grouped = self.config.flag("multi_query_attention", False)
        return self.config.size("multi_query_group_num", 1) if grouped else n_head

    def feed_forward(self, n_embd: int) -> int:
        return self.config.size("ffn_hidden_size", 4 * n_embd)

    @property
    def vocabulary_size(self) -> int:
        return self.config.optional_size("padded_vocab_size") or super().vocabulary_size

    def metadata(self) -> Metadata:
        h, config, prefix = self.hyperparameters, self.config, self.gguf_name
        keys = self.size_metadata()
        del keys[f"{prefix}.attention.layer_norm_epsilon"]
        return keys | {
            f"{prefix}.attention.head_count_kv": uint32(h.n_head_kv),
            f"{prefix}.attention.layer_norm_rms_epsilon": float32(config.number("layernorm_epsilon", 1e-5)),
            f"{prefix}.rope.dimension_count": uint32(self.head_dim // 2),
            f"{prefix}.rope.freq_base": float32(10000 * config.number("rope_ratio", 1.0)),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        embedding = (self.vocabulary_size, h.n_embd)
        rules = [
            *linear_rules("token_embd", self.embedding_name, embedding),
            *norm_rules("output_norm", "transformer.encoder.final_layernorm", h.n_embd),
        ]
        if not self.is_tied:
            rules += linear_rules("output", self.head_name, embedding)
        for layer in range(h.n_layer):
            rules += self._layer_rules(f"transformer.encoder.layers.{layer}", f"blk.{layer}")
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        attention, mlp = f"{source}.self_attention", f"{source}.mlp"
        qkv = (h.n_head + 2 * h.n_head_kv) * self.head_dim
        biased = self.config.flag("add_qkv_bias", False)
        return [
            *norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd),
            *norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd),
            *linear_rules(f"{target}.attn_qkv", f"{attention}.query_key_value", (qkv, h.n_embd), bias=biased),
            *linear_rules(f"{target}.attn_output", f"{attention}.dense", (h.n_embd, h.n_embd)),
            *linear_rules(f"{target}.ffn_up", f"{mlp}.dense_h_to_4h", (2 * h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{mlp}.dense_4h_to_h", (h.n_embd, h.n_ff)),
        ]

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        no_bos: Metadata = {"tokenizer.ggml.add_bos_token": boolean(False)}
        return no_bos | (missing_token_metadata(vocabulary, GLM_TOKENS) if vocabulary.model == "gpt2" else {})
