"""Gemma 3n, text only: four streams (AltUp), side paths of low rank (LAuReL), embeddings per layer.

llama.cpp reads few of its sizes from the file: the number of streams, the rank, the layers that keep only the
largest activations and those with keys and values of their own are what the published models have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.base.transform import Same, Shape, Stack, Transform
from quantize.architectures.families.gemma3 import Gemma3
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, ValueType, array, boolean, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary

STREAMS = 4
OWN_CACHES = 20
SPARSE_LAYERS = 10
SPARSITY = {0.95: 1.6448535919189453, 0.0: -math.inf}
"""The shares of activations that are cut off, with the deviations above the mean where they are."""

HARD_WIRED = {
    "altup_num_inputs": STREAMS,
    "altup_active_idx": 0,
    "laurel_rank": 64,
    "hidden_size_per_layer_input": 256,
}
"""The sizes that llama.cpp takes for granted, which are also the defaults of transformers' class."""

NOT_TEXT = ("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "altup_router_norm": "altup.router_norm",
    "laurel_post_norm": "laurel.post_laurel_norm",
    "post_norm": "post_per_layer_input_norm",
}


@dataclass(frozen=True)
class Padded:
    """The `n` rows of a matrix, and rows of zeros after them."""

    n: int
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((self.n, *shape[1:]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], min(start, self.n), min(stop, self.n))
        zeros = np.zeros((stop - start - len(rows), *rows.shape[1:]), rows.dtype)
        return np.concatenate([rows, zeros]) if len(zeros) else rows


class Gemma3n(Gemma3):
    """Gemma3nForCausalLM, and the text part of Gemma3nForConditionalGeneration."""

    gguf_name = "gemma3n"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration")
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 262400,
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "num_hidden_layers": 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "max_position_embeddings": 32768,
        "sliding_window": 512,
    }
    window_period = 5
    shift: ClassVar[Transform] = Same()
    default_shared: ClassVar[int] = 15

    def __init__(self, config: ModelConfig) -> None:
        config = config.with_section("text_config")
        super().__init__(_with_one_size(config))
        config = self.config
        for name, value in HARD_WIRED.items():
            if config.count(name, value) != value:
                raise CheckpointError(
                    f"config.json has {name} {config.raw(name)}; llama.cpp's `gemma3n` computes with {value}"
                )
        if not config.flag("altup_correct_scale", True) or config.flag("attention_bias", False):
            raise CheckpointError(
                "config.json has altup_correct_scale false or attention_bias true; llama.cpp's `gemma3n` "
                "scales always and has no place for biases"
            )
        n_layer = self.hyperparameters.n_layer
        self.n_shared = config.count("num_kv_shared_layers", self.default_shared)
        if n_layer - self.n_shared != min(n_layer, OWN_CACHES):
            raise CheckpointError(
                f"config.json has {n_layer} layers of which {self.n_shared} use others' keys and values; in "
                f"llama.cpp's `gemma3n` all after the first {OWN_CACHES} do"
            )
        self.slides = sliding_layers(config, n_layer, self.window_period)
        if self.n_shared and self.slides[OWN_CACHES - 2 : OWN_CACHES] != (True, False):
            raise CheckpointError(
                "config.json has layer_types whose layers 18 and 19 aren't one with a window and one "
                "without; llama.cpp's `gemma3n` lets the last layers use their keys and values"
            )
        self.sparsity = self._sparsity()

    def _check_scale(self) -> None:
        """Check nothing: queries aren't scaled."""

    def _sparsity(self) -> tuple[float, ...]:
        """Return each layer's share of activations that are cut off."""
        n_layer = self.hyperparameters.n_layer
        sparse = 0.95 if n_layer > SPARSE_LAYERS or self.config.has("activation_sparsity_pattern") else 0.0
        known = tuple(sparse if layer < SPARSE_LAYERS else 0.0 for layer in range(n_layer))
        name = "activation_sparsity_pattern"
        shares = self.config.numbers(name) if self.config.has(name) else known
        if shares != known or not sparse:
            raise CheckpointError(
                f"config.json has an {name} other than 0.95 in the first {SPARSE_LAYERS} layers and 0 in the "
                "others; llama.cpp's `gemma3n` computes nothing else"
            )
        return known

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: that of a part that sees or hears."""
        return name.removeprefix("model.").startswith(NOT_TEXT) or super().is_needless(name)

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        cap = self.config.number("final_logit_softcapping", 30.0)
        if not cap:
            raise CheckpointError(
                "config.json has final_logit_softcapping 0; llama.cpp's `gemma3n` always caps: write a number"
            )
        return {
            **super().metadata(),
            f"{prefix}.final_logit_softcapping": float32(cap),
            f"{prefix}.attention.sliding_window": uint32(self.size("sliding_window")),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, self.slides),
            f"{prefix}.attention.shared_kv_layers": uint32(self.n_shared),
            f"{prefix}.feed_forward_length": array(ValueType.INT32, [h.n_ff] * h.n_layer),
            f"{prefix}.altup.active_idx": uint32(0),
            f"{prefix}.altup.num_inputs": uint32(STREAMS),
            f"{prefix}.embedding_length_per_layer_input": uint32(HARD_WIRED["hidden_size_per_layer_input"]),
            f"{prefix}.activation_sparsity_scale": array(
                ValueType.FLOAT32, [SPARSITY[share] for share in self.sparsity]
            ),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, n, rank = (
            self.hyperparameters,
            HARD_WIRED["hidden_size_per_layer_input"],
            HARD_WIRED["laurel_rank"],
        )
        rows = self.config.size("vocab_size_per_layer_input", 262144)
        shape = (self.vocabulary_size, n * h.n_layer)
        projection = ("model.per_layer_model_projection", (n * h.n_layer, h.n_embd))
        rules = [
            *self.outer_rules(),
            *linear_rules("per_layer_token_embd", "model.embed_tokens_per_layer", shape, Padded(rows)),
            *linear_rules("per_layer_model_proj", *projection),
            *norm_rules("per_layer_proj_norm", "model.per_layer_projection_norm", n),
        ]
        streams = {"altup_proj": "altup_projections", "altup_unembd_proj": "altup_unembed_projections"}
        for target, source in streams.items():
            names = tuple(f"model.{source}.{stream}.weight" for stream in range(STREAMS - 1))
            square = (STREAMS - 1, h.n_embd, h.n_embd)
            rules.append(TensorRule(f"{target}.weight", names, square, Stack(STREAMS - 1)))
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            altup, laurel = f"{source}.altup", f"{source}.laurel"
            for gguf, huggingface in NORMS.items():
                rules += norm_rules(f"{target}.{gguf}", f"{source}.{huggingface}", h.n_embd)
            rules += self.attention_rules(source, target)
            rules += self.gated_rules(source, target)
            rules += linear_rules(f"{target}.inp_gate", f"{source}.per_layer_input_gate", (n, h.n_embd))
            rules += linear_rules(f"{target}.proj", f"{source}.per_layer_projection", (h.n_embd, n))
            rules += linear_rules(f"{target}.laurel_l", f"{laurel}.linear_left", (rank, h.n_embd))
            rules += linear_rules(f"{target}.laurel_r", f"{laurel}.linear_right", (h.n_embd, rank))
            coefficients = {
                "correct": ("correction_coefs", STREAMS),
                "predict": ("prediction_coefs", STREAMS**2),
            }
            for gguf, (name, n_rows) in coefficients.items():
                matrix = (f"{altup}.{name}.weight",)
                target_name = f"{target}.altup_{gguf}_coef.weight"
                rules.append(TensorRule(target_name, matrix, (n_rows, STREAMS), f32=True))
            rules += linear_rules(f"{target}.altup_router", f"{altup}.modality_router", (STREAMS, h.n_embd))
            scale = (f"{altup}.correct_output_scale",)
            rules.append(TensorRule(f"{target}.altup_correct_scale.weight", scale, (h.n_embd,)))
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        return {"tokenizer.ggml.add_space_prefix": boolean(False)} if vocabulary.model == "llama" else {}


def _with_one_size(config: ModelConfig) -> ModelConfig:
    """Return the configuration with one feed-forward size instead of one per layer, if all are the same."""
    sizes = config.raw("intermediate_size")
    if not isinstance(sizes, list):
        return config
    if not sizes or any(size != sizes[0] for size in sizes):
        raise CheckpointError(
            "config.json has intermediate_size with several sizes; llama.cpp's `gemma3n` has one for all"
        )
    return config.under(ModelConfig({"intermediate_size": sizes[0]}))
