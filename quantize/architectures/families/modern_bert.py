"""ModernBERT: norms before their layers, rotary positions, windows, gate and up in one matrix.

Every third layer attends to the whole text, the first one among them. The first layer has no norm before its
attention: the embedding's has done it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.encoder import Encoder
from quantize.architectures.base.rope import LAYER_TYPES
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sentence_files import CLS, MEAN
from quantize.architectures.base.sliding_window import KINDS
from quantize.gguf.header import Metadata, boolean, float32, string, uint32
from quantize.vocabulary.vocabulary import Vocabulary

THETAS = {
    "full_attention": ("global_rope_theta", 160000.0),
    "sliding_attention": ("local_rope_theta", 10000.0),
}
"""The older names of the rotation's bases, with their defaults."""

POOLINGS = {"cls": CLS, "mean": MEAN}


class ModernBert(Encoder):
    """ModernBertModel, ModernBertForMaskedLM, and classifiers and rerankers."""

    gguf_name = "modern-bert"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "ModernBertModel",
        "ModernBertForMaskedLM",
        "ModernBertForSequenceClassification",
    )
    defaults: ClassVar[Mapping[str, int]] = {
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "max_position_embeddings": 8192,
        "local_attention": 128,
    }
    base_prefix: ClassVar[str] = "model."
    default_epsilon = 1e-5
    activation_name = "hidden_activation"
    activations: ClassVar[tuple[str, ...]] = ("gelu", "silu")
    unbiased: ClassVar[tuple[str, ...]] = ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")
    """The flags of config.json for biases that llama.cpp has no place for."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for flag in self.unbiased:
            if config.flag(flag, False) and (flag != "classifier_bias" or self.classifies):
                raise CheckpointError(
                    f"config.json has {flag}; llama.cpp's `modern-bert` has no place for these biases"
                )
        if self.classifies and config.text("classifier_activation", "gelu") != "gelu":
            raise CheckpointError(
                "config.json has a classifier_activation other than gelu, which llama.cpp doesn't compute"
            )
        self.period = self._period()
        self.thetas = {kind: self._theta(kind) for kind in LAYER_TYPES}

    @property
    def epsilon(self) -> float:
        return self.config.number("norm_eps", self.default_epsilon)

    @property
    def tied_names(self) -> tuple[str, ...]:
        return ()

    def _period(self) -> int:
        """Return the distance of layers that see all: of `layer_types`, else as older files say it."""
        n_layer, kinds = self.hyperparameters.n_layer, self.config.texts("layer_types")
        if kinds is None:
            return self.config.size("global_attn_every_n_layers", 3)
        full = [layer for layer, kind in enumerate(kinds) if not KINDS.get(kind, True)]
        period = full[1] if len(full) > 1 else n_layer
        expected = ["sliding_attention" if layer % period else "full_attention" for layer in range(n_layer)]
        if list(kinds) != expected:
            raise CheckpointError(
                "config.json has layer_types that aren't full_attention at equal distances from the first "
                "layer on; llama.cpp's `modern-bert` computes nothing else"
            )
        return period

    def _theta(self, kind: str) -> float:
        """Return the base of one type of layer. Raises CheckpointError: a scaling."""
        nothing = ModelConfig({})
        nested = self.config.section("rope_parameters") or nothing
        if nested.has_other_than(LAYER_TYPES) or (nested.first([kind]) and not nested.has(kind)):
            raise CheckpointError(
                "config.json has rope_parameters that aren't settings of full_attention and sliding_attention"
            )
        section = nested.section(kind) or nothing
        scaling = section.under(self.config.section("rope_scaling"))
        rope_type = scaling.text("rope_type", scaling.text("type", "default"))
        if rope_type != "default":
            raise CheckpointError(
                f"config.json has the rope_type {rope_type!r}; llama.cpp's `modern-bert` doesn't scale"
            )
        name, default = THETAS[kind]
        said = scaling.first(["rope_theta"]) is not None
        return scaling.number("rope_theta") if said else self.config.number(name, default)

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: that of the head that guesses masked tokens."""
        is_head = name.removeprefix(self.base_prefix).startswith(("head.", "decoder."))
        return (is_head and not self.classifies) or super().is_needless(name)

    def metadata(self) -> Metadata:
        prefix, window = self.gguf_name, self.size("local_attention")
        keys: Metadata = {
            **super().metadata(),
            f"{prefix}.rope.freq_base": float32(self.thetas["full_attention"]),
            f"{prefix}.rope.freq_base_swa": float32(self.thetas["sliding_attention"]),
            f"{prefix}.rope.scaling.type": string("none"),
            f"{prefix}.attention.sliding_window": uint32(window),
            f"{prefix}.attention.sliding_window_pattern": uint32(self.period),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.hidden_activation": string(self.config.text("hidden_activation", "gelu")),
        }
        pooling = self.config.text("classifier_pooling", "cls")
        if pooling not in POOLINGS:
            raise CheckpointError(
                f"config.json has classifier_pooling {pooling!r}; llama.cpp has {' and '.join(POOLINGS)}"
            )
        keys[f"{prefix}.classifier.pooling_type"] = uint32(POOLINGS[pooling])
        return keys

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Return that marks are put around a text unless the tokenizer says something else."""
        said = vocabulary.special.add
        roles = [role for role in ("bos", "eos", "sep") if role not in said]
        return {f"tokenizer.ggml.add_{role}_token": boolean(True) for role in roles}

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, tokens = self.hyperparameters, ("embeddings.tok_embeddings.weight",)
        n, n_ff = h.n_embd, h.n_ff
        rules = [
            TensorRule("token_embd.weight", tokens, (self.vocabulary_size, n)),
            *norm_rules("token_embd_norm", "embeddings.norm", n),
            *norm_rules("output_norm", "final_norm", n),
        ]
        for layer in range(h.n_layer):
            source, target = f"layers.{layer}", f"blk.{layer}"
            if layer:
                rules += norm_rules(f"{target}.attn_norm", f"{source}.attn_norm", n)
            rules += linear_rules(f"{target}.attn_qkv", f"{source}.attn.Wqkv", (3 * n, n))
            rules += linear_rules(f"{target}.attn_output", f"{source}.attn.Wo", (n, n))
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.mlp_norm", n)
            rules += linear_rules(f"{target}.ffn_up", f"{source}.mlp.Wi", (2 * n_ff, n))
            rules += linear_rules(f"{target}.ffn_down", f"{source}.mlp.Wo", (n, n_ff))
        if self.classifies:
            rules += linear_rules("cls", "head.dense", (n, n))
            rules += norm_rules("cls.norm", "head.norm", n)
            rules += linear_rules("cls.output", "classifier", (len(self.labels), n), bias=True)
        return rules
