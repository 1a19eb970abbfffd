"""The plan of a quantization: every tensor, its sources and types; every byte before one is read.

Pure data, made from a checkpoint's headers. `pipeline.py` carries it out, `--dry-run` prints it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from models.errors import CheckpointError, LlamaCppError, QuantizationError
from models.llamacpp.quantizer import FTYPES, GGML_TYPES, ModelDescription, tensor_size, type_plan
from quantize.architectures.architecture import Architecture, TensorRule
from quantize.architectures.transform import Transform
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.source import TensorEntry
from quantize.gguf_header import Metadata, TensorInfo, aligned, encode_header, string, uint32
from quantize.vocabulary.vocabulary import Vocabulary

QUANTIZATION_VERSION: Final = 2  # GGML_QNT_VERSION: changes when the blocks' layouts do
WEIGHT_DTYPES: Final = ("float32", "float16", "bfloat16")
NEEDS_IMATRIX: Final = (
    "Q2_K_S",
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ2_M",
    "IQ3_XXS",
    "IQ3_XS",
)

TypeRules = Callable[[ModelDescription, int, Sequence[tuple[str, Sequence[int], int]]], list[int]]


@dataclass(frozen=True)
class PlannedTensor:
    """One output tensor. `ne`: ggml's shape, row length first; `sources` and `transform` make its rows."""

    name: str
    ne: tuple[int, ...]
    sources: tuple[str, ...]
    transform: Transform
    n_source_bytes: int
    f32: bool = False

    @property
    def n_per_row(self) -> int:
        return self.ne[0]

    @property
    def n_rows(self) -> int:
        return self.n_elements // self.ne[0]

    @property
    def n_elements(self) -> int:
        elements = 1
        for n in self.ne:
            elements *= n
        return elements

    @property
    def always_f32(self) -> bool:
        """Vectors, norms and what its family says: small, and other types are not computed with."""
        return self.f32 or len(self.ne) == 1 or self.name.endswith("_norm.weight")


@dataclass(frozen=True)
class PlannedFile:
    """One output. `tensor_types`: ggml types, in the order of the plan's tensors."""

    type: str
    metadata: Metadata
    tensors: tuple[TensorInfo, ...]
    tensor_bytes: tuple[int, ...]
    n_parameters: int

    @cached_property
    def header(self) -> bytes:
        return encode_header(self.metadata, self.tensors)

    @property
    def size_bytes(self) -> int:
        """Of the whole file: header, data, padding."""
        return len(self.header) + sum(aligned(size) for size in self.tensor_bytes)

    @property
    def bits_per_weight(self) -> float:
        return sum(self.tensor_bytes) * 8 / self.n_parameters


@dataclass(frozen=True)
class QuantizationPlan:
    """All outputs of one pass. `unused`: tensors of the checkpoint that no one needs (computed buffers)."""

    architecture: str
    context_length: int
    tensors: tuple[PlannedTensor, ...]
    files: tuple[PlannedFile, ...]
    unused: tuple[str, ...]

    @property
    def n_parameters(self) -> int:
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def source_bytes(self) -> int:
        """What will be read: each tensor once."""
        return sum(tensor.n_source_bytes for tensor in self.tensors)

    @property
    def output_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def _no_metadata(_n_parameters: int) -> Metadata:
    return {}


def build(
    checkpoint: Checkpoint,
    architecture: Architecture,
    vocabulary: Vocabulary,
    types: Sequence[str],
    *,
    general: Callable[[int], Metadata] = _no_metadata,
    type_rules: TypeRules = type_plan,
) -> QuantizationPlan:
    """Plan `types` (canonical names) in one pass. `general`: the `general.` keys for a parameter count.

    Raises QuantizationError: a type that can't be written; CheckpointError: tensors that are missing,
    unknown, of another shape than config.json says, or already quantized.
    """
    check_types(types)
    tensors, unused = _plan_tensors(checkpoint, architecture)
    n_parameters = sum(tensor.n_elements for tensor in tensors)
    metadata: Metadata = {
        "general.architecture": string(architecture.gguf_name),
        **general(n_parameters),
        **architecture.metadata(),
        **vocabulary.metadata(),
        **architecture.vocabulary_metadata(vocabulary),
        "general.quantization_version": uint32(QUANTIZATION_VERSION),
    }
    files = tuple(
        _plan_file(type_, tensors, metadata, architecture, type_rules) for type_ in dict.fromkeys(types)
    )
    return QuantizationPlan(architecture.gguf_name, architecture.context_length, tensors, files, unused)


def check_types(types: Sequence[str]) -> None:
    """Raises QuantizationError on a type that can't be written, with the reason."""
    if not types:
        raise QuantizationError(f"no type was asked for; known are {' '.join(FTYPES)}")
    for type_ in types:
        if type_ in NEEDS_IMATRIX:
            raise QuantizationError(
                f"{type_} needs an importance matrix, without which it is ruinous; choose Q2_K or larger"
            )
        if type_ not in FTYPES:
            raise QuantizationError(f"{type_} is no type to quantize to; known are {' '.join(FTYPES)}")


def _plan_file(
    type_: str,
    tensors: Sequence[PlannedTensor],
    metadata: Metadata,
    architecture: Architecture,
    type_rules: TypeRules,
) -> PlannedFile:
    description = ModelDescription(
        architecture=architecture.gguf_name, **dataclasses.asdict(architecture.hyperparameters)
    )
    as_converted = [(t.name, t.ne, GGML_TYPES["F32"] if t.always_f32 else GGML_TYPES["F16"]) for t in tensors]
    try:
        ggml_types = type_rules(description, FTYPES[type_], as_converted)
        sizes = tuple(tensor_size(kind, t.ne) for kind, t in zip(ggml_types, tensors, strict=True))
    except LlamaCppError as error:
        raise QuantizationError(f"{type_} can't be planned: {error.message}") from error
    infos: list[TensorInfo] = []
    offset = 0
    for tensor, kind, size in zip(tensors, ggml_types, sizes, strict=True):
        infos.append(TensorInfo(tensor.name, tensor.ne, kind, offset))
        offset += aligned(size)
    n_parameters = sum(tensor.n_elements for tensor in tensors)
    keys = metadata | {"general.file_type": uint32(FTYPES[type_])}
    return PlannedFile(type_, keys, tuple(infos), sizes, n_parameters)


def _plan_tensors(
    checkpoint: Checkpoint, architecture: Architecture
) -> tuple[tuple[PlannedTensor, ...], tuple[str, ...]]:
    """The tensors in llama.cpp's order (those in no layer, then layer by layer), and the unused names."""
    _refuse_quantized(checkpoint)
    entries = checkpoint.tensors.entries
    rules = architecture.tensor_rules()
    missing = [name for rule in rules if not rule.optional for name in rule.sources if name not in entries]
    used = {name for rule in rules for name in rule.sources}
    left = [name for name in entries if name not in used]
    unknown = [name for name in left if not name.endswith(architecture.ignored_suffixes)]
    if missing:
        raise CheckpointError(
            f"the checkpoint lacks {_some(missing)}; download it again, or correct config.json"
        )
    if unknown:
        raise CheckpointError(
            f"the checkpoint has {_some(unknown)}, for which {architecture.gguf_name} has no place; "
            "dropping them would change the model"
        )
    present = [rule for rule in rules if all(name in entries for name in rule.sources)]
    planned = [_plan_tensor(rule, entries) for rule in present]
    return tuple(sorted(planned, key=lambda tensor: _file_order(tensor.name))), tuple(left)


def _plan_tensor(rule: TensorRule, entries: Mapping[str, TensorEntry]) -> PlannedTensor:
    promised = rule.transform.source_shapes(rule.shape)
    for name, shape in zip(rule.sources, promised, strict=True):
        entry = entries[name]
        if entry.dtype.name not in WEIGHT_DTYPES:
            raise CheckpointError(
                f"tensor {name} is {entry.dtype.name}; only F32, F16 and BF16 weights can be read"
            )
        if entry.shape != shape:
            raise CheckpointError(
                f"tensor {name} has the shape {list(entry.shape)}, by config.json it is {list(shape)}; "
                "weights and config.json don't belong together"
            )
    n_bytes = sum(entries[name].n_bytes for name in rule.sources)
    return PlannedTensor(rule.name, rule.shape[::-1], rule.sources, rule.transform, n_bytes, rule.f32)


def _refuse_quantized(checkpoint: Checkpoint) -> None:
    quantization = checkpoint.config.get("quantization_config")
    if isinstance(quantization, dict):
        method = quantization.get("quant_method", "an unnamed method")
        raise CheckpointError(
            f"the checkpoint is already quantized ({method}); give the 16-bit one it was made from"
        )


def _file_order(name: str) -> tuple[int, str]:
    prefix, _, rest = name.partition(".")
    layer = rest.partition(".")[0]
    return (int(layer) if prefix == "blk" and layer.isdecimal() else -1, name)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more tensors" if len(names) > 5 else shown
