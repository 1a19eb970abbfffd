"""What a model family says about itself, as data: hyper-parameters, GGUF metadata, every tensor it has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.transform import Same, Transform
from quantize.gguf.header import Metadata, uint32
from quantize.vocabulary.added_tokens import COMMON, AddedTokenRules
from quantize.vocabulary.vocabulary import Vocabulary


@dataclass(frozen=True)
class Hyperparameters:
    """What llama.cpp's type rules look at (`models.llamacpp.quantization.quantizer.ModelDescription`)."""

    n_embd: int
    n_ff: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_embd_head_k: int
    n_embd_head_v: int
    n_expert: int = 0


@dataclass(frozen=True)
class TensorRule:
    """One output tensor: GGUF name, source names, and the shape that the configuration promises (rows first).

    `optional`: a checkpoint may lack it. A rule without sources is always made. `f32`: small and delicate, it
    stays F32 in every file, as vectors and norms do.
    """

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    transform: Transform = field(default_factory=Same)
    optional: bool = False
    f32: bool = False


class Architecture(ABC):
    """A family, for one checkpoint's configuration. Subclasses are listed in `registry.py`."""

    gguf_name: str = ""
    """The architecture's name in GGUF. A family that chooses it by its configuration leaves it empty here."""

    hyperparameters: Hyperparameters
    huggingface_names: ClassVar[tuple[str, ...]]
    ignored_suffixes: ClassVar[tuple[str, ...]] = (
        ".rotary_emb.inv_freq",
        ".attention.bias",
        ".attention.masked_bias",
    )
    """Tensors that old checkpoints carry and no one needs: buffers computed from the configuration."""

    added_token_rules: ClassVar[AddedTokenRules] = COMMON

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def tensor_name(self, name: str) -> str | None:
        """By what name `tensor_rules` knows a checkpoint's tensor; None for one that no one needs.

        For tensors that are saved under several names (`bert.encoder…` or `encoder…`): the first one counts.
        """
        return None if name.endswith(self.ignored_suffixes) else name

    @property
    @abstractmethod
    def context_length(self) -> int: ...

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Rows of the embedding: the vocabulary is padded to it."""

    @abstractmethod
    def metadata(self) -> Metadata:
        """The keys under `<gguf_name>.`."""

    @abstractmethod
    def tensor_rules(self) -> Sequence[TensorRule]:
        """Every tensor of the model."""

    def common_sizes(self) -> Metadata:
        """The keys that every family has."""
        h, prefix = self.hyperparameters, self.gguf_name
        return {
            f"{prefix}.block_count": uint32(h.n_layer),
            f"{prefix}.context_length": uint32(self.context_length),
            f"{prefix}.embedding_length": uint32(h.n_embd),
            f"{prefix}.feed_forward_length": uint32(h.n_ff),
            f"{prefix}.attention.head_count": uint32(h.n_head),
        }

    def folder_metadata(self, directory: Path) -> Metadata:
        """Keys from files beside config.json. Raises CheckpointError: a damaged one."""
        del directory
        return {}

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Tokenizer keys that belong to the family, not the tokenizer; laid over the vocabulary's own."""
        del vocabulary
        return {}
