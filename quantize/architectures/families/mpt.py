"""MPT: linear attention biases (ALiBi) instead of positions, clipped q, k and v, mostly no biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, boolean, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary


class MPT(GPTLike):
    """MPTForCausalLM, of the makers' own code (SEA-LION too), and transformers' MptForCausalLM."""

    gguf_name = "mpt"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MPTForCausalLM", "MptForCausalLM")
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size", "d_model"),
        "n_head": ("num_attention_heads", "n_heads"),
        "n_layer": ("num_hidden_layers", "n_layers"),
        "context": ("max_seq_len", "max_position_embeddings"),
    }
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 2048,
        "n_head": 16,
        "n_layer": 24,
        "context": 2048,
        "n_vocab": 50368,
    }

    embedding_name = "transformer.wte"

    def __init__(self, config: ModelConfig) -> None:
        self.attention = config.section("attn_config") or ModelConfig({})
        super().__init__(config)
        self.refuse(config.has("logit_scale"), "scaled logits (logit_scale)")
        self.refuse(self.attention.has("softmax_scale"), "a softmax_scale of its own")
        self.refuse(self.attention.flag("rope", False), "rotary positions")
        # llama.cpp has a place for these norms, but its graph aborts on them.
        self.refuse(self.attention.flag("qk_ln", False), "norms of queries and keys (qk_ln)")
        self.refuse(self.attention.flag("prefix_lm", False), "a prefix that is seen both ways")

    def kv_heads(self, n_head: int) -> int:
        one = self.attention.text("attn_type", "multihead_attention") == "multiquery_attention"
        return self.attention.optional_size("kv_n_heads") or (1 if one else n_head)

    def feed_forward(self, n_embd: int) -> int:
        return self.config.size("expansion_ratio", 4) * n_embd

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, f"{self.gguf_name}.attention"
        slopes = self.attention.number("alibi_bias_max", 8.0) if self.attention.flag("alibi", True) else 0.0
        keys = self.size_metadata() | {f"{prefix}.max_alibi_bias": float32(slopes)}
        if h.n_head_kv != h.n_head:
            keys[f"{prefix}.head_count_kv"] = uint32(h.n_head_kv)
        clip = self.attention.optional_number("clip_qkv")
        if clip is not None:
            keys[f"{prefix}.clamp_kqv"] = float32(clip)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        embedding, positions = (self.vocabulary_size, h.n_embd), (self.context_length, h.n_embd)
        rules = [
            TensorRule("token_embd.weight", (f"{self.embedding_name}.weight",), embedding),
            TensorRule(
                "position_embd.weight", ("transformer.wpe.weight",), positions, optional=True, f32=True
            ),
            TensorRule("output.weight", (f"{self.head_name}.weight",), embedding, optional=self.is_tied),
            *_rules("output_norm", "transformer.norm_f", (h.n_embd,)),
        ]
        for layer in range(h.n_layer):
            rules += self._layer_rules(f"transformer.blocks.{layer}", f"blk.{layer}")
        return rules

    def _layer_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        attention, n_kv = f"{source}.attn", h.n_head_kv * self.head_dim
        return [
            *_rules(f"{target}.attn_norm", f"{source}.norm_1", (h.n_embd,)),
            *_rules(f"{target}.ffn_norm", f"{source}.norm_2", (h.n_embd,)),
            *_rules(f"{target}.attn_qkv", f"{attention}.Wqkv", (h.n_embd + 2 * n_kv, h.n_embd)),
            *_rules(f"{target}.attn_output", f"{attention}.out_proj", (h.n_embd, h.n_embd)),
            *_rules(f"{target}.ffn_up", f"{source}.ffn.up_proj", (h.n_ff, h.n_embd)),
            *_rules(f"{target}.ffn_down", f"{source}.ffn.down_proj", (h.n_embd, h.n_ff)),
        ]

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Return the special tokens of SEA-LION's SentencePiece tokenizer, which its files don't name."""
        if vocabulary.model != "llama":
            return {}
        return {
            "tokenizer.ggml.add_bos_token": boolean(False),
            "tokenizer.ggml.padding_token_id": uint32(3),
            "tokenizer.ggml.eos_token_id": uint32(1),
            "tokenizer.ggml.unknown_token_id": uint32(0),
        }


def _rules(target: str, source: str, shape: tuple[int, ...]) -> list[TensorRule]:
    """Return the rules of a weight, and of the bias that it may have: `no_bias` isn't always obeyed."""
    return [
        TensorRule(f"{target}.weight", (f"{source}.weight",), shape),
        TensorRule(f"{target}.bias", (f"{source}.bias",), shape[:1], optional=True),
    ]
