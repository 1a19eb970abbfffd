"""Llama 1 to 3.x and what was made from them (Alpaca, Vicuna, Koala, WizardLM …), and Mistral.

Mistral's sliding window has no place in llama.cpp's `llama`, which attends to the whole context: the window
of the first Mistral 7B (4,096 tokens) is dropped here as in llama.cpp's converter, later ones have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.architecture import Architecture, Hyperparameters, TensorRule
from quantize.architectures.config import ModelConfig
from quantize.architectures.rope import Rope
from quantize.architectures.transform import Computed, RotaryHeads, Same, Transform
from quantize.gguf_header import Metadata, boolean, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary

CODE_LLAMA_VOCABULARY = 32016
CODE_LLAMA_TOKENS = {"prefix": 32007, "suffix": 32008, "middle": 32009, "eot": 32010}
GRANITE_VOCABULARY = 49152


class Llama(Architecture):
    """LlamaForCausalLM: grouped-query attention, SwiGLU, RMS norms; embeddings tied or not."""

    gguf_name = "llama"
    huggingface_names: ClassVar[tuple[str, ...]] = ("LlamaForCausalLM", "LLaMAForCausalLM")

    # What transformers' LlamaConfig assumes where config.json is silent.
    default_context_length = 2048
    default_feed_forward = 11008
    default_kv_heads: int | None = None  # as many as heads

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_embd, n_head = config.size("hidden_size", 4096), config.size("num_attention_heads", 32)
        self.head_dim = config.optional_size("head_dim") or n_embd // n_head
        n_head_kv = config.size("num_key_value_heads", self.default_kv_heads or n_head)
        if self.head_dim % 2 or n_head % n_head_kv:
            raise CheckpointError(
                f"config.json has {n_head} heads of {self.head_dim} numbers and {n_head_kv} key-value heads; "
                "heads must be even in size and a multiple of the key-value heads"
            )
        self._hyperparameters = Hyperparameters(
            n_embd=n_embd,
            n_ff=config.size("intermediate_size", self.default_feed_forward),
            n_layer=config.size("num_hidden_layers", 32),
            n_head=n_head,
            n_head_kv=n_head_kv,
            n_embd_head_k=self.head_dim,
            n_embd_head_v=self.head_dim,
        )
        activation = config.text("hidden_act") or "silu"
        if activation not in ("silu", "swish"):
            raise CheckpointError(
                f"config.json has hidden_act {activation!r}; llama.cpp's `llama` computes silu only"
            )
        self.rope = Rope.of(config)

    @property
    def hyperparameters(self) -> Hyperparameters:
        return self._hyperparameters

    @property
    def context_length(self) -> int:
        return self.config.size("max_position_embeddings", self.default_context_length)

    @property
    def vocabulary_size(self) -> int:
        return self.config.size("vocab_size", 32000)

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        return {
            f"{prefix}.block_count": uint32(h.n_layer),
            f"{prefix}.context_length": uint32(self.context_length),
            f"{prefix}.embedding_length": uint32(h.n_embd),
            f"{prefix}.feed_forward_length": uint32(h.n_ff),
            f"{prefix}.attention.head_count": uint32(h.n_head),
            f"{prefix}.attention.head_count_kv": uint32(h.n_head_kv),
            **self.rope.metadata(prefix, self.context_length),
            f"{prefix}.attention.layer_norm_rms_epsilon": float32(self.config.number("rms_norm_eps", 1e-6)),
            f"{prefix}.attention.key_length": uint32(h.n_embd_head_k),
            f"{prefix}.attention.value_length": uint32(h.n_embd_head_v),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.rope.dimension_count": uint32(self.head_dim),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = [
            TensorRule("token_embd.weight", ("model.embed_tokens.weight",), (self.vocabulary_size, h.n_embd)),
            TensorRule("output_norm.weight", ("model.norm.weight",), (h.n_embd,)),
            TensorRule(
                "output.weight",
                ("lm_head.weight",),
                (self.vocabulary_size, h.n_embd),
                optional=self.config.flag("tie_word_embeddings", False),
            ),
        ]
        factors = self.rope.llama3_factors(self.head_dim, self.context_length)
        if factors is not None:
            rules.append(TensorRule("rope_freqs.weight", (), (len(factors),), Computed(factors)))
        for layer in range(h.n_layer):
            rules += self._layer_rules(f"model.layers.{layer}", f"blk.{layer}")
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        n_q, n_kv = h.n_head * self.head_dim, h.n_head_kv * self.head_dim
        rotary, same = RotaryHeads(self.head_dim), Same()
        linear: list[tuple[str, str, tuple[int, int], Transform]] = [
            ("attn_q", "self_attn.q_proj", (n_q, h.n_embd), rotary),
            ("attn_k", "self_attn.k_proj", (n_kv, h.n_embd), rotary),
            ("attn_v", "self_attn.v_proj", (n_kv, h.n_embd), same),
            ("attn_output", "self_attn.o_proj", (h.n_embd, n_q), same),
            ("ffn_gate", "mlp.gate_proj", (h.n_ff, h.n_embd), same),
            ("ffn_up", "mlp.up_proj", (h.n_ff, h.n_embd), same),
            ("ffn_down", "mlp.down_proj", (h.n_embd, h.n_ff), same),
        ]
        rules = [
            TensorRule(f"{target}.attn_norm.weight", (f"{source}.input_layernorm.weight",), (h.n_embd,)),
            TensorRule(
                f"{target}.ffn_norm.weight", (f"{source}.post_attention_layernorm.weight",), (h.n_embd,)
            ),
        ]
        for gguf, huggingface, shape, transform in linear:
            rules.append(
                TensorRule(f"{target}.{gguf}.weight", (f"{source}.{huggingface}.weight",), shape, transform)
            )
            biased = self.config.flag("attention_bias" if gguf.startswith("attn") else "mlp_bias", False)
            bias = (f"{source}.{huggingface}.bias",)
            rules.append(TensorRule(f"{target}.{gguf}.bias", bias, shape[:1], transform, optional=not biased))
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
    default_context_length = 131072
    default_feed_forward = 14336
    default_kv_heads = 8
