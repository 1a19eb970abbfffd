"""The plan of a quantization: every tensor, its sources and types; every byte before one is read.

Pure: made from shapes and numbers alone. `make_plan` reads them, `quantize.run.pipeline` carries the plan
out, `--dry-run` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from models.errors import CheckpointError, LlamaCppError, QuantizationError
from models.llamacpp.quantization.ggml_types import GGML_TYPES, tensor_size
from models.quantization_types import TENSOR_TYPES
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.passthrough import BlockTransform, KeptBlocks, SecondScales, moves_rows
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Constant, TokenTable, Transform
from quantize.calibration.calibration import Calibration
from quantize.checkpoint.source import BlockSource, TensorEntry
from quantize.gguf.header import Metadata, TensorInfo, aligned, encode_header, uint32
from quantize.imatrix.matrix import Floats, ImportanceMatrix
from quantize.plan.second_scales import MADE_EXPONENT, NVFP4, scale_name
from quantize.plan.source_names import match_names
from quantize.plan.types import TypeChoice, tensor_types

QUANTIZATION_VERSION: Final = 2
"""The file says this version of the blocks' layouts: GGML_QNT_VERSION."""

WEIGHT_DTYPES: Final = ("float32", "float16", "bfloat16", "float64")
"""Weights of these dtypes can be read."""


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
    def stored_type(self) -> int | None:
        """The ggml type that it has already, in GGUF, MXFP4 or NVFP4, or always; None for plain floats."""
        if isinstance(self.transform, TokenTable):
            return GGML_TYPES["I64"]
        return self.transform.ggml_type if isinstance(self.transform, BlockTransform) else None

    @property
    def always_f32(self) -> bool:
        """True for vectors, norms and what its family says: small, and not computed with in other types."""
        return self.f32 or len(self.ne) == 1 or self.name.endswith("_norm.weight")


@dataclass(frozen=True)
class PlannedFile:
    """One output; its tensors are those of the plan from number `first` on, in the plan's order."""

    type: str
    metadata: Metadata
    tensors: tuple[TensorInfo, ...]
    tensor_bytes: tuple[int, ...]
    n_parameters: int
    first: int = 0

    @cached_property
    def header(self) -> bytes:
        return encode_header(self.metadata, self.tensors)

    @property
    def size_bytes(self) -> int:
        """The size of the whole file in bytes: header, data, padding."""
        return len(self.header) + sum(aligned(size) for size in self.tensor_bytes)

    @property
    def bits_per_weight(self) -> float:
        return sum(self.tensor_bytes) * 8 / self.n_parameters

    def has(self, index: int) -> bool:
        """Tell whether the plan's tensor number `index` is one of this file's."""
        return self.first <= index < self.first + len(self.tensors)

    def type_of(self, index: int) -> int:
        """Return the ggml type that the plan's tensor number `index` has in this file."""
        return self.tensors[index - self.first].ggml_type

    def bytes_of(self, index: int) -> int:
        """Return the bytes that the plan's tensor number `index` has in this file."""
        return self.tensor_bytes[index - self.first]


@dataclass(frozen=True)
class QuantizationPlan:
    """All outputs of one pass. `unused`: tensors of the checkpoint that are not needed (computed buffers).

    `n_parameters` are the model's own, without its projector's. `imatrix`: the importance matrix that weighs
    errors when the model's tensors are encoded, if there is one.
    """

    architecture: str
    context_length: int
    n_parameters: int
    tensors: tuple[PlannedTensor, ...]
    files: tuple[PlannedFile, ...]
    unused: tuple[str, ...]
    imatrix: ImportanceMatrix | None = None
    projector: PlannedFile | None = None
    """The file of the projector, whose tensors are the plan's last."""
    calibration: Calibration | None = None
    """The rounding by whole moments, if there is one."""
    awaits_calibration: bool = False
    """The plan tells bytes and memory before its calibration is there."""

    @property
    def is_calibrated(self) -> bool:
        """True if tensors are rounded by whole moments, be they there yet or not."""
        return self.calibration is not None or self.awaits_calibration

    @property
    def outputs(self) -> tuple[PlannedFile, ...]:
        """The files of all types, and the projector's."""
        return self.files if self.projector is None else (*self.files, self.projector)

    def types_of(self, index: int) -> tuple[int, ...]:
        """Return the ggml types of tensor number `index` in the outputs that have it, in their order."""
        return tuple(file.type_of(index) for file in self.outputs if file.has(index))

    def weights_for(self, index: int) -> Floats | None:
        """Return the importance of the columns of tensor number `index`; None where none is known.

        Raises QuantizationError: the matrix was made for another model.
        """
        tensor = self.tensors[index]
        if self.imatrix is None or (self.projector is not None and self.projector.has(index)):
            return None
        return self.imatrix.weights_for(tensor.name, tensor.ne)

    def calibration_for(self, index: int) -> Calibration | None:
        """Return what rounds tensor number `index`; None for what is encoded plainly: vectors, projectors."""
        return self.calibration if self.is_rounded(index) else None

    def is_rounded(self, index: int) -> bool:
        """Tell whether tensor number `index` is rounded by whole moments where its type can be."""
        is_of_projector = self.projector is not None and self.projector.has(index)
        return self.is_calibrated and not is_of_projector and len(self.tensors[index].ne) > 1

    def of_projector_alone(self) -> QuantizationPlan:
        """Return the plan without the model's own tensors and files."""
        if self.projector is None:
            return replace(self, tensors=(), files=())
        tensors = self.tensors[self.projector.first :]
        return replace(self, tensors=tensors, files=(), projector=replace(self.projector, first=0))

    @property
    def source_bytes(self) -> int:
        """The bytes that will be read: each tensor once."""
        return sum(tensor.n_source_bytes for tensor in self.tensors)

    @property
    def output_bytes(self) -> int:
        return sum(file.size_bytes for file in self.outputs)


def plan_tensors(
    source: Mapping[str, TensorEntry],
    architecture: Architecture,
    has_no_effect: Callable[[str], bool] = lambda _: False,
) -> tuple[tuple[PlannedTensor, ...], tuple[str, ...]]:
    """Return the tensors in llama.cpp's order (those in no layer, then layer by layer), and the unused names.

    A tensor for which the family has no place is unused if `has_no_effect` says so of its name.

    Raises CheckpointError: tensors that are missing, unknown, or of another shape than config.json says.
    """
    found = match_names(source, architecture, has_no_effect)
    planned = [_plan_tensor(rule, found.entries) for rule in found.rules]
    return tuple(sorted(planned, key=lambda tensor: _file_order(tensor.name))), found.unused


def keep_blocks(
    tensors: Sequence[PlannedTensor], source: BlockSource, ggml_type: int, scalable: Collection[str]
) -> tuple[PlannedTensor, ...]:
    """Return `tensors` of which those stay blocks of `ggml_type` that are such blocks in the source.

    They are among the `scalable` ones, whole blocks make their rows, and all that is done to them is to move
    rows.
    """
    return tuple(
        replace(tensor, transform=KeptBlocks(ggml_type, tensor.transform))
        if tensor.name in scalable
        and tensor.n_per_row % TENSOR_TYPES[ggml_type].block_size == 0
        and moves_rows(tensor.transform)
        and all(source.ggml_type(name) == ggml_type for name in tensor.sources)
        else tensor
        for tensor in tensors
    )


def plan_files(
    types: Sequence[str],
    tensors: Sequence[PlannedTensor],
    metadata: Metadata,
    architecture: Architecture,
    choice: TypeChoice,
    scalable: Collection[str] = (),
) -> tuple[tuple[PlannedTensor, ...], tuple[PlannedFile, ...]]:
    """Plan one file of `tensors` per type, each type once; return all tensors, and the files.

    Behind `tensors` are the second scales that the file of the type NVFP4 has in addition, of the `scalable`
    tensors. Raises QuantizationError: a type that can't be.
    """
    files = {
        type_: _plan_file(type_, tensors, metadata, architecture, choice, scalable)
        for type_ in dict.fromkeys(types)
    }
    scales: list[PlannedTensor] = []
    if "NVFP4" in files:
        file = files["NVFP4"]
        kinds = [info.ggml_type for info in file.tensors]
        scales = [_second_scale(t) for t, kind in zip(tensors, kinds, strict=True) if _has_scale(t, kind)]
        kinds += [GGML_TYPES["F32"]] * len(scales)
        files["NVFP4"] = file_of_types("NVFP4", [*tensors, *scales], kinds, file.metadata)
    return (*tensors, *scales), tuple(files.values())


def _has_scale(tensor: PlannedTensor, kind: int) -> bool:
    """Tell whether a tensor of that type gets a second scale: what a GGUF file has in blocks has its own."""
    return kind == NVFP4 and (tensor.stored_type != NVFP4 or isinstance(tensor.transform, KeptBlocks))


def _second_scale(tensor: PlannedTensor) -> PlannedTensor:
    """Return the tensor of a tensor's second scale: one number, for experts one each."""
    n = tensor.ne[2] if len(tensor.ne) > 2 else 1
    if isinstance(tensor.transform, KeptBlocks):
        return PlannedTensor(scale_name(tensor.name), (n,), tensor.sources, SecondScales(), 0, f32=True)
    values = Constant((2.0**MADE_EXPONENT,) * n)
    return PlannedTensor(scale_name(tensor.name), (n,), (), values, 0, f32=True)


def _plan_file(
    type_: str,
    tensors: Sequence[PlannedTensor],
    metadata: Metadata,
    architecture: Architecture,
    choice: TypeChoice,
    scalable: Collection[str],
) -> PlannedFile:
    converted = type_ if type_ in ("F32", "BF16") else "F16"
    as_converted = [(tensor.name, tensor.ne, _source_type(tensor, converted)) for tensor in tensors]
    try:
        ftype, ggml_types = tensor_types(choice, architecture.hyperparameters, type_, as_converted, scalable)
        if type_ == converted:  # llama.cpp's converter keeps more tensors in F32 than its type rules do
            ggml_types = [
                GGML_TYPES["F32"] if t.f32 else kind for t, kind in zip(tensors, ggml_types, strict=True)
            ]
        own = metadata | {"general.file_type": uint32(ftype)}
        own |= _importance_metadata(choice, tensors, ggml_types) | _calibration_metadata(choice, ggml_types)
        return file_of_types(type_, tensors, ggml_types, own)
    except LlamaCppError as error:
        raise QuantizationError(f"{type_} can't be planned: {error.message}") from error


def _importance_metadata(
    choice: TypeChoice, tensors: Sequence[PlannedTensor], ggml_types: Sequence[int]
) -> Metadata:
    """Return the keys of a file that has tensors which are encoded by an importance matrix; else none."""
    imatrix = choice.imatrix
    if imatrix is None:
        return {}
    is_used = any(
        TENSOR_TYPES[kind].takes_importance
        and tensor.stored_type != kind
        and len(tensor.ne) > 1
        and imatrix.weights_for(tensor.name, tensor.ne) is not None
        for tensor, kind in zip(tensors, ggml_types, strict=True)
    )
    return imatrix.metadata() if is_used else {}


def _calibration_metadata(choice: TypeChoice, ggml_types: Sequence[int]) -> Metadata:
    """Return the keys of a file that has tensors in types which a calibration rounds; else none."""
    calibration = choice.calibration
    is_rounded = calibration is not None and any(map(calibration.takes, ggml_types))
    return calibration.metadata() if calibration is not None and is_rounded else {}


def file_of_types(
    type_: str,
    tensors: Sequence[PlannedTensor],
    ggml_types: Sequence[int],
    metadata: Metadata,
    *,
    first: int = 0,
) -> PlannedFile:
    """Return the file of `tensors`, the plan's from number `first` on, that have these types.

    Raises LlamaCppError: rows that a type can't have.
    """
    sizes = tuple(tensor_size(kind, t.ne) for kind, t in zip(ggml_types, tensors, strict=True))
    infos: list[TensorInfo] = []
    offset = 0
    for tensor, kind, size in zip(tensors, ggml_types, sizes, strict=True):
        infos.append(TensorInfo(tensor.name, tensor.ne, kind, offset))
        offset += aligned(size)
    n_parameters = sum(tensor.n_elements for tensor in tensors)
    return PlannedFile(type_, metadata, tuple(infos), sizes, n_parameters, first)


def _source_type(tensor: PlannedTensor, converted: str) -> int:
    """Return the ggml type that llama.cpp's converter would have given the tensor, or that it has."""
    if tensor.stored_type is not None:
        return tensor.stored_type
    return GGML_TYPES["F32" if tensor.always_f32 else converted]


def _plan_tensor(rule: TensorRule, entries: Mapping[str, TensorEntry]) -> PlannedTensor:
    promised = rule.transform.source_shapes(rule.shape)
    for name, shape in zip(rule.sources, promised, strict=True):
        entry = entries[name]
        is_table = isinstance(rule.transform, TokenTable) and entry.dtype.kind == "i"
        if entry.dtype.name not in WEIGHT_DTYPES and not is_table:
            raise CheckpointError(
                f"tensor {name} is {entry.dtype.name}; only F64, F32, F16 and BF16 weights can be read"
            )
        if entry.shape != shape:
            raise CheckpointError(
                f"tensor {name} has the shape {list(entry.shape)}, by config.json it is {list(shape)}; "
                "weights and config.json don't belong together"
            )
    n_bytes = sum(entries[name].n_bytes for name in rule.sources)
    sources = tuple(entries[name].name for name in rule.sources)
    return PlannedTensor(rule.name, rule.shape[::-1], sources, rule.transform, n_bytes, rule.f32)


def _file_order(name: str) -> tuple[int, str]:
    prefix, _, rest = name.partition(".")
    layer = rest.partition(".")[0]
    return (int(layer) if prefix == "blk" and layer.isdecimal() else -1, name)
