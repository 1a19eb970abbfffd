"""The layout of a file of moments: a GGUF file's metadata and tensors. Pure.

general.type = "moments"; corral.moments.version, .text, .text_sha256, .chunks, .held_out_chunks, .chunk_size,
.model, .model_hash; .weights and .inputs: of each weight its name, and the input that it multiplies.
Of each input, named after a weight, with n columns and m matrices (more than one: experts, or heads):

<input>.counts       i32 [m, 3]               rows that are summed, first rows, held-out rows
<input>.variance     f32 [m, n]               the columns' mean squares
<input>.correlation  f16 [m, n · (n − 1) / 2] correlations above the diagonal, row after row
<input>.first        f32 [m, k, n]            rows of windows' first tokens; those beyond the count are 0
<input>.held_out     f32 [m, k, n]            rows of windows that aren't in the sums; likewise

Correlations lie within ±1 and f16 keeps them to 2.5e-4. Rows stay f32: a token may be thousands of times its
column's root mean square, more than f16 holds beside small ones, and they are a small part of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.quantization_types import TENSOR_TYPES
from quantize.gguf.header import Metadata, TensorInfo, aligned, encode_header, string, strings, uint32
from quantize.moments.inputs import Input
from quantize.moments.sampling import Sampling
from quantize.moments.sums import n_first_rows, n_held_out_rows

VERSION: Final = 1
"""The form of the files that are written and read here."""
KIND: Final = "moments"
KEY: Final = "corral.moments."
COUNTS, VARIANCE, CORRELATION, FIRST, HELD_OUT = ".counts", ".variance", ".correlation", ".first", ".held_out"
TYPES: Final = {COUNTS: "I32", VARIANCE: "F32", CORRELATION: "F16", FIRST: "F32", HELD_OUT: "F32"}
"""The type of each of an input's tensors."""
_NUMBERS: Final = {row.name: number for number, row in TENSOR_TYPES.items()}
_BYTES: Final = {"I32": 4, "F32": 4, "F16": 2}


@dataclass(frozen=True)
class MomentInfo:
    """The origin of moments: a text, cut into `chunks` of `chunk_size` tokens, that ran through a model.

    `held_out_chunks` of them aren't summed. `model_hash`: see `quantize.moments.model_hash`.
    """

    label: str
    text_sha256: str
    chunks: int
    held_out_chunks: int
    chunk_size: int
    model: str
    model_hash: str

    @property
    def tokens(self) -> int:
        """The tokens of all chunks."""
        return self.chunks * self.chunk_size

    @property
    def summed_tokens(self) -> int:
        """The tokens of the chunks that are summed."""
        return (self.chunks - self.held_out_chunks) * self.chunk_size


@dataclass(frozen=True)
class Place:
    """The place of a tensor of which each matrix has `shape`: where the first begins, and bytes of each."""

    start: int
    nbytes: int


class Layout:
    """A file's header, its size, and where each input's numbers go."""

    def __init__(self, info: MomentInfo, inputs: Sequence[Input]) -> None:
        sampling = Sampling(info.chunks, info.chunk_size)
        infos: list[TensorInfo] = []
        sizes: list[int] = []
        offset = 0
        for one in inputs:
            for suffix, shape in shapes(one, sampling).items():
                count = one.n_matrices
                for size in shape:
                    count *= size
                ne = (*reversed(shape), one.n_matrices) if one.n_matrices > 1 else tuple(reversed(shape))
                infos.append(TensorInfo(one.name + suffix, ne, _NUMBERS[TYPES[suffix]], offset))
                sizes.append(count * _BYTES[TYPES[suffix]])
                offset += aligned(sizes[-1])
        self.inputs = tuple(inputs)
        self.sampling = sampling
        self.header = encode_header(_metadata(info, inputs), infos)
        self.size_bytes = len(self.header) + offset
        matrices = {one.name + suffix: one.n_matrices for one in inputs for suffix in TYPES}
        self.places = {
            tensor.name: Place(len(self.header) + tensor.offset, size // matrices[tensor.name])
            for tensor, size in zip(infos, sizes, strict=True)
        }


def shapes(one: Input, sampling: Sampling) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that each of an input's matrices has, those that hold something."""
    n = one.width
    every: dict[str, tuple[int, ...]] = {
        COUNTS: (3,),
        VARIANCE: (n,),
        CORRELATION: (n * (n - 1) // 2,),
        FIRST: (n_first_rows(one, sampling), n),
        HELD_OUT: (n_held_out_rows(one, sampling), n),
    }
    return {suffix: shape for suffix, shape in every.items() if 0 not in shape}


def _metadata(info: MomentInfo, inputs: Sequence[Input]) -> Metadata:
    pairs = [(weight, one.name) for one in inputs for weight in one.weights]
    return {
        "general.type": string(KIND),
        KEY + "version": uint32(VERSION),
        KEY + "text": string(info.label),
        KEY + "text_sha256": string(info.text_sha256),
        KEY + "chunks": uint32(info.chunks),
        KEY + "held_out_chunks": uint32(info.held_out_chunks),
        KEY + "chunk_size": uint32(info.chunk_size),
        KEY + "model": string(info.model),
        KEY + "model_hash": string(info.model_hash),
        KEY + "weights": strings([weight for weight, _ in pairs]),
        KEY + "inputs": strings([name for _, name in pairs]),
    }
