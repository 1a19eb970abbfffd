"""Numbers and sizes of the quantization types as llama.cpp's functions take them; no native code.

`models.quantization_types` has the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import LlamaCppError
from models.quantization_types import TABLE, TENSOR_TYPES

GGML_TYPES: dict[str, int] = {row.name: number for number, row in TENSOR_TYPES.items()}
"""The types that a tensor of a GGUF file can have, by name (upper case)."""

FTYPES: dict[str, int] = {
    row.name: row.ftype for row in TABLE if row.written and not row.needs_imatrix and row.ftype is not None
}
"""The types that a file can be quantized to without an importance matrix, as llama_ftype."""

IMATRIX_FTYPES: dict[str, int] = {
    row.name: row.ftype for row in TABLE if row.written and row.needs_imatrix and row.ftype is not None
}
"""The types that are ruinous without an importance matrix, so that llama.cpp's quantizer refuses."""

ALL_FTYPES: dict[str, int] = FTYPES | IMATRIX_FTYPES
"""The types that a file can be quantized to, as llama_ftype."""


def require_type(ggml_type: int) -> int:
    """Return `ggml_type`. Raises LlamaCppError for an unknown number, on which ggml reads past its table."""
    if ggml_type not in TENSOR_TYPES:
        raise LlamaCppError(f"{ggml_type} is no ggml type of a GGUF tensor; known: {', '.join(GGML_TYPES)}")
    return ggml_type


def type_number(name: str) -> int:
    """Return the number of the type called `name` in any case ("q4_k" -> 12). Raises LlamaCppError."""
    number = GGML_TYPES.get(name.upper())
    if number is None:
        raise LlamaCppError(f"`{name}` is no ggml type; known: {', '.join(GGML_TYPES)}")
    return number


def type_name(ggml_type: int) -> str:
    """Return the upper-case name of a type number (12 -> "Q4_K"). Raises LlamaCppError."""
    return TENSOR_TYPES[require_type(ggml_type)].name


def blck_size(ggml_type: int) -> int:
    """Return the elements in one block of the type, 1, 32, 256 …; a row must be a multiple of it."""
    return TENSOR_TYPES[require_type(ggml_type)].block_size


def type_size(ggml_type: int) -> int:
    """Return the bytes of one block of the type."""
    return TENSOR_TYPES[require_type(ggml_type)].block_bytes


def is_quantized(ggml_type: int) -> bool:
    """True unless the type is a plain float or integer. Raises LlamaCppError."""
    return TENSOR_TYPES[require_type(ggml_type)].is_quantized


def row_size(ggml_type: int, n_per_row: int) -> int:
    """Return the bytes of a row of `n_per_row` elements. Raises LlamaCppError if blocks don't divide it."""
    block = blck_size(ggml_type)
    if n_per_row < 0 or n_per_row % block:
        raise LlamaCppError(
            f"a row of {n_per_row} elements can't be {type_name(ggml_type)}: its blocks hold {block}; "
            "choose a type with smaller blocks"
        )
    return n_per_row // block * type_size(ggml_type)


def tensor_size(ggml_type: int, ne: Sequence[int]) -> int:
    """Return the bytes of a tensor's data. `ne` has its sizes in ggml's order, the row length first."""
    rows = 1
    for n in ne[1:]:
        rows *= n
    return rows * row_size(ggml_type, ne[0])
