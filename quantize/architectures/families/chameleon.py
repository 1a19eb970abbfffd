"""Chameleon's text: Llama with norms, and shifts, of each head's query and key; it draws no images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import LlamaLike
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, boolean

LAST_IMAGE_TOKEN: Final = 8195
"""The last of the ids whose logits llama.cpp writes over: those of images' tokens."""


@dataclass(frozen=True)
class RotaryRows:
    """Rows that are each one head's numbers, from half-and-half order to pairs, as in `RotaryHeads`."""

    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], start, stop)
        return rows.reshape(len(rows), 2, -1).swapaxes(1, 2).reshape(rows.shape)


class Chameleon(LlamaLike):
    """ChameleonForConditionalGeneration, in older files ChameleonForCausalLM."""

    gguf_name = "chameleon"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "ChameleonForConditionalGeneration",
        "ChameleonForCausalLM",
    )
    ignored_prefixes = ("vqmodel.",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 65536,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    }
    default_epsilon = 1e-5
    null_kv_heads = False
    rotates_neighbours = True
    refused_flags: ClassVar[dict[str, str]] = {
        "attention_bias": "has no place for biases",
        "mlp_bias": "has no place for biases",
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if self.vocabulary_size <= LAST_IMAGE_TOKEN:
            raise CheckpointError(
                f"config.json has vocab_size {self.vocabulary_size}; llama.cpp's `chameleon` has tokens of "
                f"images up to {LAST_IMAGE_TOKEN}"
            )

    def metadata(self) -> Metadata:
        swin = self.config.optional_flag("swin_norm", False)
        return super().metadata() | {f"{self.gguf_name}.swin_norm": boolean(swin)}

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        h = self.hyperparameters
        rules = super().layer_attention_rules(source, target)
        for part, n_head in {"q": h.n_head, "k": h.n_head_kv}.items():
            for kind in ("weight", "bias"):
                rules.append(
                    TensorRule(
                        f"{target}.attn_{part}_norm.{kind}",
                        (f"{source}.self_attn.{part}_norm.{kind}",),
                        (n_head, self.head_dim),
                        RotaryRows(),
                        f32=True,
                    )
                )
        return rules
