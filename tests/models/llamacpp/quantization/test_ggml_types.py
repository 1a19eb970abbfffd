from __future__ import annotations

import pytest

from models.errors import LlamaCppError
from models.llamacpp.quantization.ggml_types import (
    ALL_FTYPES,
    FTYPES,
    IMATRIX_FTYPES,
    blck_size,
    require_type,
    row_size,
    tensor_size,
    type_name,
    type_number,
    type_size,
)
from models.quantization_types import QUANTIZATION_TYPES


def test_names_in_any_case_have_numbers() -> None:
    assert type_number("q4_k") == type_number("Q4_K") == 12
    assert type_name(12) == "Q4_K"
    with pytest.raises(LlamaCppError, match="`q4_k_m` is no ggml type; known: F32, F16"):
        type_number("q4_k_m")


def test_sizes_of_rows_and_tensors() -> None:
    assert (blck_size(12), type_size(12)) == (256, 144)
    assert row_size(12, 512) == 288
    assert tensor_size(12, (512, 3, 2)) == 6 * 288
    with pytest.raises(LlamaCppError, match="a row of 100 elements can't be Q4_K: its blocks hold 256"):
        row_size(12, 100)


def test_numbers_beyond_ggmls_table_are_refused() -> None:
    for number in (-1, 4, 99):
        with pytest.raises(LlamaCppError, match=f"{number} is no ggml type"):
            require_type(number)


def test_file_types_are_those_with_and_without_an_importance_matrix() -> None:
    assert set(ALL_FTYPES) == set(QUANTIZATION_TYPES)
    assert not FTYPES.keys() & IMATRIX_FTYPES.keys()
    assert (FTYPES["Q4_K_M"], IMATRIX_FTYPES["IQ1_S"]) == (15, 24)
