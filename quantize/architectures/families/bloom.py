"""BLOOM: linear attention biases (ALiBi), a norm on the embedding, q, k and v fused head by head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.gguf.header import Metadata, uint32


class Bloom(GPTLike):
    """BloomForCausalLM; the first checkpoints lack the names' `transformer.`, and some say BloomModel."""

    gguf_name = "bloom"
    huggingface_names: ClassVar[tuple[str, ...]] = ("BloomForCausalLM", "BloomModel")
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size",),
        "n_head": ("num_attention_heads", "n_head"),
        "n_layer": ("num_hidden_layers", "n_layer"),
        "context": ("seq_length", "max_position_embeddings"),  # of the training: ALiBi has no limit
    }
    older_names: ClassVar[dict[str, str]] = {"n_embd": "n_embed"}
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 64,
        "n_head": 8,
        "n_layer": 2,
        "context": 2048,
        "n_vocab": 250880,
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        after_norm = config.flag("apply_residual_connection_post_layernorm", False)
        self.refuse(after_norm, "residuals taken after the norm")

    def metadata(self) -> Metadata:
        kv = f"{self.gguf_name}.attention.head_count_kv"
        return self.size_metadata() | {kv: uint32(self.hyperparameters.n_head_kv)}

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules("transformer.ln_f")
        rules += norm_rules("token_embd_norm", f"{self.embedding_name}_layernorm", h.n_embd, bias=True)
        for layer in range(h.n_layer):
            rules += self.fused_layer_rules(f"transformer.h.{layer}", f"blk.{layer}", "self_attention")
        return rules
