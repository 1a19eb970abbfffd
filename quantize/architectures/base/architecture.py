"""The contract of a model family: hyper-parameters, metadata and a rule for every tensor, as data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from models.errors import CheckpointError
from models.llamacpp.quantization.type_rules import ModelDescription
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.sentence_files import sentence_metadata, uncomputed
from quantize.checkpoint.sentence_modules import DenseLayer
from quantize.gguf.header import Metadata, uint32
from quantize.vocabulary.added_tokens import COMMON, AddedTokenRules
from quantize.vocabulary.vocabulary import Vocabulary

LEGACY_RENAMES = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
"""Names of TensorFlow's layers in old checkpoints, which transformers reads for every model."""


class Architecture(ABC):
    """A family, for one checkpoint's configuration. Subclasses are listed in `registry.py`."""

    gguf_name: str = ""
    """The architecture's name in GGUF. A family that chooses it by its configuration leaves it empty here."""

    hyperparameters: ModelDescription
    """The sizes that llama.cpp's type rules look at; set by `__init__`."""

    huggingface_names: ClassVar[tuple[str, ...]]
    """The `architectures` entries of config.json that mean this family."""

    reads_back: ClassVar[bool] = True
    """False if a GGUF file's sizes don't tell how its layers were named: then it takes no PEFT adapter."""

    defaults: ClassVar[Mapping[str, int]] = {}
    """The sizes that transformers' configuration class assumes where config.json is silent."""

    aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of config.json's fields, which win over their own: transformers' `attribute_map`."""

    never_null: ClassVar[tuple[str, ...]] = ()
    """The fields whose null transformers' class refuses, and whose getters here would take it."""

    default_tied: ClassVar[bool | None] = None
    """`tie_word_embeddings` where config.json is silent; None for a family that doesn't look at it."""

    base_prefix: ClassVar[str] = "model."
    """The beginning of names that only models with a head have: transformers' `base_model_prefix`."""

    renames: ClassVar[tuple[tuple[str, str], ...]] = ()
    """The parts of tensors' names that older or newer files have, each with that of `tensor_rules`."""

    ignored_suffixes: ClassVar[tuple[str, ...]] = (
        ".rotary_emb.inv_freq",
        ".rotary_emb.original_inv_freq",
        ".rotary_emb.cos_cached",
        ".rotary_emb.sin_cached",
        ".attention.bias",
        ".attention.masked_bias",
    )
    """The endings of tensors that old checkpoints carry and no one needs: buffers of computed numbers."""

    ignored_prefixes: ClassVar[tuple[str, ...]] = ()
    """The beginnings, without `model.`, of tensors that belong to another part: one that sees or hears."""

    sections: ClassVar[tuple[str, ...]] = ()
    """The sections of config.json, each in the one before, that lead to the text model, if they are there."""

    kept_fields: ClassVar[tuple[str, ...]] = ()
    """The fields beside those sections that the family reads, too."""

    added_token_rules: ClassVar[AddedTokenRules] = COMMON
    """The family's treatment of tokens that were added to a SentencePiece model."""

    def __init__(self, config: ModelConfig) -> None:
        """Read the configuration. Raises CheckpointError: a model that llama.cpp's family can't compute."""
        self.config = config
        config.refuse_null(self.never_null)

    def with_tensors(self, names: Iterable[str]) -> Architecture:
        """Return the family of a checkpoint with such tensors: itself, unless they make further layers."""
        del names
        return self

    def with_dense(self, layers: Sequence[DenseLayer]) -> Architecture:
        """Return the family of a checkpoint with such layers behind its pooling: itself where there are none.

        Raises CheckpointError: layers that llama.cpp's family doesn't compute.
        """
        if layers:
            raise uncomputed(f"Dense ({layers[0].folder})")
        return self

    def size(self, name: str) -> int:
        """Return a size of config.json, or this family's default for it. Raises CheckpointError."""
        return self.config.size(name, self.defaults.get(name))

    @property
    def context_length(self) -> int:
        """The number of tokens that the model was trained for."""
        return self.size("max_position_embeddings")

    @property
    def vocabulary_size(self) -> int:
        """The rows of the embedding, to which the vocabulary is padded."""
        return self.size("vocab_size")

    @property
    def tied_names(self) -> tuple[str, ...]:
        """The names of one matrix, the embedding's first, whose place any other takes where it is missing."""
        return ()

    @property
    def is_tied(self) -> bool:
        """True if the embedding is the output matrix, too."""
        return self.default_tied is not None and self.config.flag("tie_word_embeddings", self.default_tied)

    def tensor_name(self, name: str) -> str | None:
        """Return the name by which `tensor_rules` knows a checkpoint's tensor; None for one no one needs.

        A tensor may be saved under several names (`bert.encoder…` or `encoder…`): the first one counts. As in
        transformers' loader, the base's prefix may be missing, or be there in addition. A name that means
        nothing here is returned as it is.
        """
        usual = self.usual_name(name)
        for known in self._spellings(usual):
            if known in self._source_names:
                return known
        return None if self.is_needless(usual) else usual

    def usual_name(self, name: str) -> str:
        """Return a tensor's name as `tensor_rules` spells it, but for the base's prefix."""
        for old, new in (*LEGACY_RENAMES, *self.renames):
            name = name.replace(old, new)
        return name

    def is_needless(self, name: str) -> bool:
        """Tell whether a tensor that no rule reads may be left out, by its usual name."""
        return f".{name}".endswith(self.ignored_suffixes) or name.removeprefix("model.").startswith(
            self.ignored_prefixes
        )

    def is_spelling_of(self, name: str, known: str) -> bool:
        """Tell whether a checkpoint's tensor has the name `known` of the rules, with or without prefix."""
        return known in self._spellings(self.usual_name(name))

    def _spellings(self, usual: str) -> tuple[str, ...]:
        return usual.removeprefix(self.base_prefix), f"{self.base_prefix}{usual}", usual

    @cached_property
    def _source_names(self) -> frozenset[str]:
        rules = self.tensor_rules()
        names = {name for rule in rules for form in rule.forms for name in form.sources}
        return frozenset(names | self.value_names)

    @abstractmethod
    def metadata(self) -> Metadata:
        """Return the keys under `<gguf_name>.`."""

    @abstractmethod
    def tensor_rules(self) -> Sequence[TensorRule]:
        """Return a rule for every tensor of the model."""

    def common_metadata(self) -> Metadata:
        """Return the keys that every family has."""
        h, prefix = self.hyperparameters, self.gguf_name
        return {
            f"{prefix}.block_count": uint32(h.n_layer),
            f"{prefix}.context_length": uint32(self.context_length),
            f"{prefix}.embedding_length": uint32(h.n_embd),
            f"{prefix}.feed_forward_length": uint32(h.n_ff),
            f"{prefix}.attention.head_count": uint32(h.n_head),
        }

    @property
    def value_names(self) -> frozenset[str]:
        """The tensors of single numbers that a file has as keys, not as tensors."""
        return frozenset()

    def value_metadata(self, values: Mapping[str, float]) -> Metadata:
        """Return the keys made of the numbers of `value_names`, all of which are there."""
        del values
        return {}

    def folder_metadata(self, directory: Path) -> Metadata:
        """Return the keys of other files in the checkpoint's folder: those of sentence-transformers.

        Raises CheckpointError: a damaged one.
        """
        return sentence_metadata(directory, self.gguf_name)

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Return tokenizer keys that belong to the family; they replace the vocabulary's own."""
        del vocabulary
        return {}

    def check_activation(self, name: str, known: Sequence[str]) -> None:
        """Check a field of config.json. Raises CheckpointError for an activation that isn't `known`."""
        activation = self.config.text(name, known[0])
        if activation not in known:
            raise CheckpointError(
                f"config.json has {name} {activation!r}; llama.cpp's `{self.gguf_name}` computes"
                f" {known[0]} only"
            )
