"""Rows of an image end with the file's own embedding, also where llama.cpp computed it from unset memory."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import LlamaCppError
from models.llamacpp.row_ends import restore_row_ends

ROW_END = np.array([1.0, -2.0, 3.0], np.float32)


def test_undefined_ends_of_rows_become_the_files() -> None:
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    expected = rows.copy()
    expected[1] = expected[3] = ROW_END
    rows[1], rows[3] = np.nan, (1.0, np.inf, 3.0)
    restore_row_ends(rows, ROW_END)
    assert np.array_equal(rows, expected)


@pytest.mark.parametrize("row_end", [None, ROW_END])
def test_any_other_row_must_be_finite(row_end: np.ndarray[tuple[int], np.dtype[np.float32]] | None) -> None:
    rows = np.ones((2, 3), np.float32)
    rows[1] = (5.0, np.nan, 3.0)
    with pytest.raises(LlamaCppError, match="aren't finite"):
        restore_row_ends(rows, row_end)


def test_finite_rows_stay_as_they_are() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    restore_row_ends(rows, None)
    assert np.array_equal(rows, np.arange(6, dtype=np.float32).reshape(2, 3))
