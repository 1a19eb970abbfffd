"""GPT-NeoX and Pythia: attention and feed-forward side by side, heads rotated in part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.gpt_like import GPTLike
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, boolean, uint32


class GPTNeoX(GPTLike):
    """GPTNeoXForCausalLM. A base of the rotation other than 10,000 is written, the converter loses it."""

    gguf_name = "gptneox"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GPTNeoXForCausalLM",)
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "n_embd": ("hidden_size",),
        "n_head": ("num_attention_heads",),
        "n_layer": ("num_hidden_layers",),
        "context": ("max_position_embeddings",),
    }
    defaults: ClassVar[dict[str, int]] = {
        "n_embd": 6144,
        "n_head": 64,
        "n_layer": 44,
        "context": 2048,
        "n_vocab": 50432,
    }
    activation_name = "hidden_act"
    epsilon_name = "layer_norm_eps"
    default_tied = False
    base_prefix = "gpt_neox."
    embedding_name = "gpt_neox.embed_in"
    head_name = "embed_out"
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("lm_head.", "embed_out."),)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.refuse(not config.flag("attention_bias", True), "attention without biases")
        self.rope = Rope.of(config, theta_name="rotary_emb_base")
        self.rope.refuse_factors(self.gguf_name)

    def feed_forward(self, n_embd: int) -> int:
        del n_embd  # the class has a number of its own
        return self.config.size("intermediate_size", 24576)

    def metadata(self) -> Metadata:
        inner = self.rope.parameters
        name = inner.first(["partial_rotary_factor"])
        rotated = self.config.number("rotary_pct", 0.25) if name is None else inner.number(name)
        prefix = self.gguf_name
        return {
            **self.size_metadata(),
            f"{prefix}.rope.dimension_count": uint32(int(rotated * self.head_dim)),
            f"{prefix}.use_parallel_residual": boolean(self.config.flag("use_parallel_residual", True)),
            **self.rope.metadata_unless_default(self.gguf_name, self.context_length),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules("gpt_neox.final_layer_norm")
        if self.is_tied:
            # llama.cpp wants an output matrix in the file, also where the model has none of its own.
            embedding = (f"{self.embedding_name}.weight",)
            rules = [
                dataclasses.replace(rule, sources=embedding) if rule.name == "output.weight" else rule
                for rule in rules
            ]
        for layer in range(h.n_layer):
            rules += self.fused_layer_rules(f"gpt_neox.layers.{layer}", f"blk.{layer}", "attention")
        return rules
