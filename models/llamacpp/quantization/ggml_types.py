"""Names, numbers and sizes of tensor types as the quantizer and the KV cache ask for them; no native code.

`models.gguf.types` has the table; a test holds it against the library.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import LlamaCppError
from models.gguf.types import GGML_TYPES as _TABLE

_PLAIN = {"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"}

GGML_TYPES: dict[str, int] = {entry.name: number for number, entry in _TABLE.items()}
"""Types a tensor of a GGUF file can have, by name (upper case)."""

FTYPES: dict[str, int] = {
    "F32": 0,
    "F16": 1,
    "BF16": 32,
    "Q8_0": 7,
    "Q6_K": 18,
    "Q5_K_M": 17,
    "Q5_K_S": 16,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q4_K_M": 15,
    "Q4_K_S": 14,
    "Q4_0": 2,
    "Q4_1": 3,
    "IQ4_XS": 30,
    "IQ4_NL": 25,
    "Q3_K_L": 13,
    "Q3_K_M": 12,
    "Q3_K_S": 11,
    "IQ3_M": 27,
    "IQ3_S": 26,
    "Q2_K": 10,
}
"""The types a file can be quantized to, as llama_ftype; without those that need an importance matrix."""

IMATRIX_FTYPES: dict[str, int] = {
    "IQ3_XS": 22,
    "IQ3_XXS": 23,
    "Q2_K_S": 21,
    "IQ2_M": 29,
    "IQ2_S": 28,
    "IQ2_XS": 20,
    "IQ2_XXS": 19,
    "IQ1_M": 31,
    "IQ1_S": 24,
}
"""The types that are ruinous without an importance matrix, so that llama.cpp's quantizer refuses."""

ALL_FTYPES: dict[str, int] = FTYPES | IMATRIX_FTYPES


def require_type(ggml_type: int) -> int:
    """`ggml_type` itself, or LlamaCppError: ggml reads past its table on a number it doesn't know."""
    if ggml_type not in _TABLE:
        raise LlamaCppError(f"{ggml_type} is no ggml type of a GGUF tensor; known: {', '.join(GGML_TYPES)}")
    return ggml_type


def type_number(name: str) -> int:
    """The number of the type called `name` in any case ("q4_k" -> 12). Raises LlamaCppError."""
    number = GGML_TYPES.get(name.upper())
    if number is None:
        raise LlamaCppError(f"`{name}` is no ggml type; known: {', '.join(GGML_TYPES)}")
    return number


def type_name(ggml_type: int) -> str:
    """The upper-case name of a type number (12 -> "Q4_K"). Raises LlamaCppError."""
    return _TABLE[require_type(ggml_type)].name


def blck_size(ggml_type: int) -> int:
    """Elements in one block of the type: 1, 32, 256 …; a row must be a multiple of it."""
    return _TABLE[require_type(ggml_type)].block_size


def type_size(ggml_type: int) -> int:
    """Bytes of one block of the type."""
    return _TABLE[require_type(ggml_type)].block_bytes


def is_quantized(ggml_type: int) -> bool:
    """True unless the type is a plain float or integer."""
    return type_name(ggml_type) not in _PLAIN


def row_size(ggml_type: int, n_per_row: int) -> int:
    """Bytes of one row of `n_per_row` elements. Raises LlamaCppError if blocks don't divide the row."""
    block = blck_size(ggml_type)
    if n_per_row < 0 or n_per_row % block:
        raise LlamaCppError(
            f"a row of {n_per_row} elements can't be {type_name(ggml_type)}: its blocks hold {block}; "
            "choose a type with smaller blocks"
        )
    return n_per_row // block * type_size(ggml_type)


def tensor_size(ggml_type: int, ne: Sequence[int]) -> int:
    """Bytes of a tensor's data. `ne`: its sizes in ggml's order, the row length first."""
    rows = 1
    for n in ne[1:]:
        rows *= n
    return rows * row_size(ggml_type, ne[0])
