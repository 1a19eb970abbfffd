"""EAGLE-3 heads: one layer that guesses a model's next tokens from the model's own hidden states.

A head is made for one model, its target, whose vocabulary it has; some list fewer tokens of their own. It is
served beside that model, and answers nothing by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.transform import TokenTable, Transform
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata, ValueType, array, boolean, uint32

N_TARGET_LAYERS = 3
"""A head sees so many of the target's layers."""
_OTHER_TARGET = "give the folder of the model that it was made for with --target"


class Eagle3(Llama):
    """LlamaForCausalLMEagle3 and its other names, with a Llama's layer."""

    gguf_name = "eagle3"
    reads_back = False
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "LlamaForCausalLMEagle3",
        "Eagle3LlamaForCausalLM",
        "Eagle3Speculator",
        "Eagle3DraftModel",
    )
    headless_names: ClassVar[tuple[str, ...]] = huggingface_names
    sections: ClassVar[tuple[str, ...]] = ("transformer_layer_config",)
    kept_fields: ClassVar[tuple[str, ...]] = (
        "draft_vocab_size",
        "eagle_aux_hidden_state_layer_ids",
        "norm_before_fc",
        "norm_before_residual",
        "target_hidden_size",
    )
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("midlayer.", "layers.0."),)
    ignored_suffixes: ClassVar[tuple[str, ...]] = (*Llama.ignored_suffixes, ".t2d")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._target: ModelConfig | None = None
        if self.hyperparameters.n_layer != 1:
            raise CheckpointError(
                f"config.json has num_hidden_layers {self.hyperparameters.n_layer}; llama.cpp's"
                f" `{self.gguf_name}` has one layer"
            )

    def for_target(self, fields: Mapping[str, Any]) -> Eagle3:
        """Return the head of the model with this config.json. Raises CheckpointError: another model's."""
        target = ModelConfig(fields, "the target's config.json")
        self._target = target.with_section("text_config") if target.has("text_config") else target
        width = self.target.size("hidden_size")
        if self.target_hidden_size != width:
            raise CheckpointError(
                f"the head is one for a model of the width {self.target_hidden_size}, and the target's is"
                f" {width}; {_OTHER_TARGET}"
            )
        return self

    def with_tensors(self, names: Iterable[str]) -> Architecture:
        """Return the head. Raises CheckpointError: it guesses tokens of another vocabulary."""
        if self._target is not None and not self._has_whole_vocabulary and "d2t" not in names:
            raise CheckpointError(
                f"the head guesses {self.draft_vocabulary_size:,} tokens, the target has"
                f" {self.vocabulary_size:,}, and no table (d2t) tells which are which; {_OTHER_TARGET}"
            )
        return self

    @property
    def target(self) -> ModelConfig:
        """The target's configuration. Raises CheckpointError where no target was given."""
        if self._target is None:
            raise CheckpointError(
                "a head that drafts has the vocabulary of its model; make its file by corral quantize with"
                " that model's folder as --target"
            )
        return self._target

    @property
    def vocabulary_size(self) -> int:
        return self.target.size("vocab_size")

    @property
    def draft_vocabulary_size(self) -> int:
        """The number of tokens that the head can guess."""
        return self.config.optional_size("draft_vocab_size") or self.vocabulary_size

    @property
    def target_layers(self) -> list[int]:
        """The layers of the target whose inputs the head sees; where it doesn't say, as its makers chose."""
        n_layer = self.target.size("num_hidden_layers")
        layers = [int(number) for number in self.config.numbers("eagle_aux_hidden_state_layer_ids") or ()]
        layers = layers or [2, n_layer // 2, n_layer - 3]
        if len(layers) != N_TARGET_LAYERS or not all(0 <= layer < n_layer for layer in layers):
            raise CheckpointError(
                f"the head sees the layers {layers} of a model that has {n_layer}; a head for llama.cpp sees"
                f" {N_TARGET_LAYERS} of them"
            )
        return layers

    @property
    def target_hidden_size(self) -> int:
        """The width of the target."""
        return self.config.optional_size("target_hidden_size") or self.target.size("hidden_size")

    @property
    def norms_before_projection(self) -> bool:
        """True if the target's states are normed before they are projected."""
        return self.config.flag("norm_before_fc", False)

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        return super().metadata() | {
            f"{prefix}.target_layers": array(ValueType.INT32, self.target_layers),
            f"{prefix}.target_hidden_size": uint32(self.target_hidden_size),
            f"{prefix}.norm_before_residual": boolean(self.config.flag("norm_before_residual", False)),
            f"{prefix}.norm_before_fc": boolean(self.norms_before_projection),
        }

    def outer_rules(self, norm: Transform | None = None, *, norm_bias: bool = False) -> list[TensorRule]:
        del norm, norm_bias
        n_embd, n_draft = self.hyperparameters.n_embd, self.draft_vocabulary_size
        n_states = N_TARGET_LAYERS * self.target_hidden_size
        rules = [
            TensorRule("fc.weight", ("fc.weight",), (n_embd, n_states)),
            TensorRule(
                "token_embd.weight",
                (f"{self.embedding_name}.weight",),
                (self.vocabulary_size, n_embd),
                optional=True,
            ),
            *norm_rules("output_norm", self.last_norm_name, n_embd),
            TensorRule("output.weight", (f"{self.head_name}.weight",), (n_draft, n_embd), optional=True),
        ]
        if self.norms_before_projection:
            rules += norm_rules("enc.output_norm", "input_norm", n_states)
        table = TensorRule(
            "d2t", ("d2t",), (n_draft,), TokenTable(self.vocabulary_size), self._has_whole_vocabulary
        )
        return [*rules, table]

    @property
    def _has_whole_vocabulary(self) -> bool:
        return self.draft_vocabulary_size == self.vocabulary_size

    def layer_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of the layer, whose attention sees a token's embedding and the state beside it."""
        n_embd = self.hyperparameters.n_embd
        rules = [
            dataclasses.replace(rule, shape=(rule.shape[0], 2 * n_embd))
            if rule.name.endswith((".attn_q.weight", ".attn_k.weight", ".attn_v.weight"))
            else rule
            for rule in super().layer_rules(source, target)
        ]
        return [*rules, *norm_rules(f"{target}.attn_norm_2", f"{source}.hidden_norm", n_embd)]
