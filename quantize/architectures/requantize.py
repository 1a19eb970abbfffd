"""The architecture of a GGUF model: its tensors under their own names, its metadata kept.

A GGUF file has everything inside, so no family need be known: any architecture that llama.cpp quantizes can
be quantized again. The rules are llama.cpp's for a file that is quantized: a tensor that is to have the type
it has is copied, every other one is decoded and encoded, vectors and norms stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from models.gguf.info import GGUFInfo, GGUFTensor
from models.gguf.reader import GGUFArray, Scalar, read_gguf_file
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from models.llamacpp.quantization.type_rules import ModelDescription
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.passthrough import Passthrough
from quantize.architectures.base.rules import TensorRule
from quantize.checkpoint.gguf import used_axes
from quantize.gguf.header import Metadata, Value, ValueType
from quantize.vocabulary.vocabulary import Vocabulary

VALUE_TYPES: Final[Mapping[str, ValueType]] = {
    "u8": ValueType.UINT8,
    "i8": ValueType.INT8,
    "u16": ValueType.UINT16,
    "i16": ValueType.INT16,
    "u32": ValueType.UINT32,
    "i32": ValueType.INT32,
    "f32": ValueType.FLOAT32,
    "bool": ValueType.BOOL,
    "str": ValueType.STRING,
    "u64": ValueType.UINT64,
    "i64": ValueType.INT64,
    "f64": ValueType.FLOAT64,
}
REPLACED: Final = ("general.file_type", "general.quantization_version", "general.alignment")
"""The keys that describe the file they are in; ours has its own."""
NOT_KEPT: Final = ("split.", "quantize.imatrix.", "corral.calibration.")
"""Keys that begin so are a file's own, too: those of its parts, and of how its weights were rounded."""


class GGUFModel(Architecture):
    """The model in a GGUF file. `extra` metadata replaces the file's own."""

    huggingface_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, info: GGUFInfo, extra: Metadata | None = None) -> None:
        super().__init__(ModelConfig({}, info.path.name))
        assert info.architecture is not None, "checked when the file was read"
        self.gguf_name = info.architecture
        self._info = info
        self._extra = extra or {}
        self.hyperparameters = self._read_hyperparameters()

    def _read_hyperparameters(self) -> ModelDescription:
        """Return the type rules' sizes; of a number that differs between layers the first, as llama.cpp."""
        n_embd, n_head = self._first("embedding_length"), self._first("attention.head_count")
        head_dim = n_embd // n_head if n_head else 0
        return ModelDescription(
            architecture=self.gguf_name,
            n_embd=n_embd,
            n_ff=self._first("feed_forward_length"),
            n_layer=self._first("block_count") * self._first("num_loops", 1),  # of Nanbeige
            n_head=n_head,
            n_head_kv=self._first("attention.head_count_kv", n_head),
            n_embd_head_k=self._first("attention.key_length", head_dim),
            n_embd_head_v=self._first("attention.value_length", head_dim),
            n_expert=self._first("expert_count"),
        )

    @property
    def context_length(self) -> int:
        return self._info.n_ctx_train or 0

    @property
    def vocabulary_size(self) -> int:
        return self._info.n_vocab or 0

    def metadata(self) -> Metadata:
        """Return every key of the file, in its order, but those that are true of one file only."""
        return metadata_to_keep(self._info) | self._extra

    def tensor_name(self, name: str) -> str | None:
        return name

    def tensor_rules(self) -> Sequence[TensorRule]:
        return [_rule_of(tensor) for tensor in self._info.tensors]

    def _first(self, key: str, default: int = 0) -> int:
        values = self._info.per_layer(key)
        return int(values[0]) if values else default


def _rule_of(tensor: GGUFTensor) -> TensorRule:
    shape = used_axes(tensor)[::-1]
    return TensorRule(tensor.name, (tensor.name,), shape, Passthrough(GGML_TYPES[tensor.type]))


class NoVocabulary(Vocabulary):
    """A stand-in for a vocabulary where the file's own keys are kept as they are."""

    def __init__(self) -> None:
        super().__init__(model="gpt2", pre="", tokens=())

    def metadata(self) -> Metadata:
        return {}


def metadata_to_keep(info: GGUFInfo) -> Metadata:
    """Return the file's metadata with its types, without the keys of its encoding and its parts."""
    types = read_gguf_file(info.path).types
    return {
        key: _value(value, types[key])
        for key, value in info.metadata.items()
        if key not in REPLACED and not key.startswith(NOT_KEPT)
    }


def _value(value: Scalar | GGUFArray, type_: str) -> Value:
    if not isinstance(value, GGUFArray):
        return Value(VALUE_TYPES[type_], value)
    items: Sequence[Any] = list(value.strings()) if value.element_type == "str" else value.numbers()
    return Value(ValueType.ARRAY, items, VALUE_TYPES[value.element_type])
