"""Quantization types: one table with a row per type, from which every list of types is made. Pure.

A tensor has one of ggml's types (Q4_K); a file has one of llama.cpp's (Q4_K_M), which gives its tensors
several. Some names are both (Q8_0), so a row has the columns of both. Sizes are held against gguf-py and the
library by a test.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal

Encoder = Literal["corral", "ggml"]
"""Code that encodes floats as a type: `quantize.kernels`, to ggml's bytes and faster, or ggml alone."""

MixRole = Literal["wide", "small", "narrow", "odd"]
"""A part that a tensor type plays where the types of a mixed file are searched.

wide    for rows that blocks of 256 divide: quick to encode and to compute with
small   the same rows, where an importance matrix is given and the file is to have under about 4 bits per
        weight: slow to encode, and poor without the matrix
narrow  for rows that only blocks of 32 divide
odd     for all other rows
"""


@dataclass(frozen=True, slots=True)
class QuantizationType:
    """A row of the table."""

    name: str
    """The upper-case name, as ggml and llama.cpp spell it."""
    _: KW_ONLY

    ggml: int | None = None
    """The number of the tensor type in ggml.h; None for a name that only files have."""
    block_size: int = 0
    """The number of elements in a block: a tensor's rows are made of whole blocks."""
    block_bytes: int = 0
    """The bytes of a block."""
    encoder: Encoder | None = None
    """The code that makes tensors of this type from floats; None if Corral never does."""
    ignores_importance: bool = False
    """The encoder of blocks makes the same bytes with an importance matrix as without."""
    kv_cache: bool = False
    """llama.cpp can keep a KV cache in this type."""
    mix: tuple[MixRole, ...] = ()
    """The parts that the type plays in mixed files; empty if it is no candidate."""

    ftype: int | None = None
    """The number of the file type in llama.h (`general.file_type`); None for a name of tensors only."""
    written: bool = False
    """`corral quantize` writes files of this type."""
    rules_of: str | None = None
    """The file type whose rules for tensors this one has, where llama.cpp's quantizer knows none: tensors
    that they give the tensor type of that name get this type's instead, where they can."""
    needs_imatrix: bool = False
    """A file of this type is ruinous without an importance matrix, so that llama.cpp's quantizer refuses."""
    alias: str | None = None
    """Another name that users may type, in upper case."""
    default: bool = False
    """`corral quantize` writes the type when none is given."""
    serving_rank: int | None = None
    """The place among the types that serve a model's plain name, from 1; None comes after all of them."""
    mix_base_bits: float | None = None
    """The bits per weight below which a mixed file may have this type as its base; the lowest such bound
    decides. None if it never is the base."""

    @property
    def is_quantized(self) -> bool:
        """True unless a tensor of this type holds plain numbers."""
        return self.block_size > 1

    @property
    def takes_importance(self) -> bool:
        """True if an importance matrix changes what the encoder makes."""
        return self.encoder is not None and self.is_quantized and not self.ignores_importance

    def nbytes(self, n_elements: int) -> int:
        """Return the bytes of `n_elements` elements, a multiple of `block_size`."""
        return n_elements // self.block_size * self.block_bytes


_Row = QuantizationType
TABLE: Final = (
    # Types that Corral writes files of, from large to small.
    _Row("F32", ggml=0, block_size=1, block_bytes=4, encoder="ggml", kv_cache=True, ftype=0, written=True),
    _Row(
        "F16", ggml=1, block_size=1, block_bytes=2, encoder="ggml", kv_cache=True,
        mix=("wide", "narrow", "odd"), ftype=1, written=True, serving_rank=5,
    ),
    _Row(
        "BF16", ggml=30, block_size=1, block_bytes=2, encoder="ggml", kv_cache=True,
        ftype=32, written=True, serving_rank=6,
    ),
    _Row(
        "Q8_0", ggml=8, block_size=32, block_bytes=34, encoder="ggml", ignores_importance=True, kv_cache=True,
        mix=("wide", "narrow"), ftype=7, written=True, alias="8BIT", default=True, serving_rank=3,
        mix_base_bits=float("inf"),
    ),
    _Row(
        "Q6_K", ggml=14, block_size=256, block_bytes=210, encoder="corral",
        mix=("wide",), ftype=18, written=True, serving_rank=4, mix_base_bits=7.5,
    ),
    _Row(
        "Q5_K_M", ftype=17, written=True, alias="5BIT", default=True, serving_rank=2, mix_base_bits=6.2,
    ),
    _Row("Q5_K_S", ftype=16, written=True),
    _Row(
        "Q5_0", ggml=6, block_size=32, block_bytes=22, encoder="ggml", kv_cache=True,
        mix=("narrow",), ftype=8, written=True,
    ),
    _Row(
        "Q5_1", ggml=7, block_size=32, block_bytes=24, encoder="ggml", kv_cache=True,
        mix=("narrow",), ftype=9, written=True,
    ),
    _Row(
        "Q4_K_M", ftype=15, written=True, alias="4BIT", default=True, serving_rank=1, mix_base_bits=5.2,
    ),
    _Row("Q4_K_S", ftype=14, written=True),
    _Row(
        "Q4_0", ggml=2, block_size=32, block_bytes=18, encoder="ggml", kv_cache=True,
        ftype=2, written=True,
    ),
    _Row(
        "Q4_1", ggml=3, block_size=32, block_bytes=20, encoder="ggml", kv_cache=True,
        ftype=3, written=True,
    ),
    _Row(
        "NVFP4", ggml=40, block_size=64, block_bytes=36, encoder="ggml", ignores_importance=True,
        ftype=39, written=True, rules_of="Q4_0",
    ),
    _Row("MXFP4_MOE", ftype=38, written=True),
    _Row(
        "IQ4_XS", ggml=23, block_size=256, block_bytes=136, encoder="ggml",
        mix=("wide",), ftype=30, written=True, mix_base_bits=4.4,
    ),
    _Row(
        "IQ4_NL", ggml=20, block_size=32, block_bytes=18, encoder="ggml", kv_cache=True,
        mix=("narrow",), ftype=25, written=True,
    ),
    _Row("Q3_K_L", ftype=13, written=True),
    _Row("Q3_K_M", ftype=12, written=True, mix_base_bits=3.7),
    _Row("Q3_K_S", ftype=11, written=True),
    _Row("IQ3_M", ftype=27, written=True),
    _Row(
        "IQ3_S", ggml=21, block_size=256, block_bytes=110, encoder="ggml",
        mix=("small",), ftype=26, written=True,
    ),
    _Row("IQ3_XS", ftype=22, written=True, needs_imatrix=True),
    _Row(
        "IQ3_XXS", ggml=18, block_size=256, block_bytes=98, encoder="ggml",
        mix=("small",), ftype=23, written=True, needs_imatrix=True,
    ),
    _Row(
        "Q2_K", ggml=10, block_size=256, block_bytes=84, encoder="ggml",
        ftype=10, written=True, mix_base_bits=2.8,
    ),
    _Row("Q2_K_S", ftype=21, written=True, needs_imatrix=True),
    _Row("IQ2_M", ftype=29, written=True, needs_imatrix=True),
    _Row(
        "IQ2_S", ggml=22, block_size=256, block_bytes=82, encoder="ggml",
        mix=("small",), ftype=28, written=True, needs_imatrix=True,
    ),
    _Row(
        "IQ2_XS", ggml=17, block_size=256, block_bytes=74, encoder="ggml",
        mix=("small",), ftype=20, written=True, needs_imatrix=True,
    ),
    _Row(
        "IQ2_XXS", ggml=16, block_size=256, block_bytes=66, encoder="ggml",
        mix=("small",), ftype=19, written=True, needs_imatrix=True, mix_base_bits=2.2,
    ),
    _Row(
        "TQ2_0", ggml=35, block_size=256, block_bytes=66, encoder="ggml", ignores_importance=True,
        ftype=37, written=True,
    ),
    _Row(
        "IQ1_M", ggml=29, block_size=256, block_bytes=56, encoder="ggml",
        ftype=31, written=True, needs_imatrix=True,
    ),
    _Row(
        "TQ1_0", ggml=34, block_size=256, block_bytes=54, encoder="ggml", ignores_importance=True,
        ftype=36, written=True,
    ),
    _Row(
        "IQ1_S", ggml=19, block_size=256, block_bytes=50, encoder="ggml",
        ftype=24, written=True, needs_imatrix=True,
    ),
    # Types of tensors in files of the types above.
    _Row("Q5_K", ggml=13, block_size=256, block_bytes=176, encoder="corral", mix=("wide",)),
    _Row("Q4_K", ggml=12, block_size=256, block_bytes=144, encoder="corral", mix=("wide",)),
    _Row("Q3_K", ggml=11, block_size=256, block_bytes=110, encoder="ggml", mix=("wide",)),
    _Row("MXFP4", ggml=39, block_size=32, block_bytes=17, encoder="ggml", ignores_importance=True),
    # Types that only other programs' files have.
    _Row("Q1_0", ggml=41, block_size=128, block_bytes=18, ftype=40),
    _Row("Q2_0", ggml=42, block_size=64, block_bytes=18, ftype=41),
    _Row("Q8_1", ggml=9, block_size=32, block_bytes=36),
    _Row("Q8_K", ggml=15, block_size=256, block_bytes=292),
    _Row("I8", ggml=24, block_size=1, block_bytes=1),
    _Row("I16", ggml=25, block_size=1, block_bytes=2),
    _Row("I32", ggml=26, block_size=1, block_bytes=4),
    _Row("I64", ggml=27, block_size=1, block_bytes=8),
    _Row("F64", ggml=28, block_size=1, block_bytes=8),
)  # fmt: skip

TENSOR_TYPES: Final[dict[int, QuantizationType]] = dict(
    sorted((row.ggml, row) for row in TABLE if row.ggml is not None)
)
"""The types that a tensor of a GGUF file can have, by ggml's number, ascending."""

FILE_TYPES: Final[dict[int, str]] = dict(
    sorted((row.ftype, row.name) for row in TABLE if row.ftype is not None)
)
"""The names of the types that a GGUF file can have, by llama.cpp's number (`general.file_type`)."""

QUANTIZATION_TYPES: Final[tuple[str, ...]] = tuple(row.name for row in TABLE if row.written)
"""The types that Corral writes, in llama.cpp's spelling, from large to small."""

DEFAULT_TYPES: Final[tuple[str, ...]] = tuple(row.name for row in TABLE if row.default)
"""The types that `corral quantize` writes when none is given."""

IMATRIX_TYPES: Final[tuple[str, ...]] = tuple(row.name for row in TABLE if row.written and row.needs_imatrix)
"""The types that Corral writes with an importance matrix only."""

TYPE_ALIASES: Final[dict[str, str]] = {row.alias: row.name for row in TABLE if row.alias is not None}
"""Types by their other name, in upper case."""

PREFERRED_TYPES: Final[tuple[str, ...]] = tuple(
    name for _, name in sorted((row.serving_rank, row.name) for row in TABLE if row.serving_rank is not None)
)
"""The types that serve a plain name when nothing else says, the first one first; others come after these."""

RULES_OF: Final[dict[str, str]] = {row.name: row.rules_of for row in TABLE if row.rules_of is not None}
"""The file types for which llama.cpp's quantizer has no rules, each with the one whose rules it has here."""

KV_CACHE_TYPES: Final[tuple[str, ...]] = tuple(row.name.lower() for row in TABLE if row.kv_cache)
"""The types that a KV cache can have, in lower case, as llama.cpp's flags spell them."""

MIX_BASES: Final[tuple[tuple[float, str], ...]] = tuple(
    sorted((row.mix_base_bits, row.name) for row in TABLE if row.mix_base_bits is not None)
)
"""The base types of mixed files, each after the bits per weight that the file must be below; ascending."""


def mix_candidates(role: MixRole) -> tuple[str, ...]:
    """Return the names of the tensor types that play `role` in mixed files, from few bits to many."""
    rows = [row for row in TABLE if role in row.mix]
    return tuple(row.name for row in sorted(rows, key=lambda row: row.block_bytes / row.block_size))
