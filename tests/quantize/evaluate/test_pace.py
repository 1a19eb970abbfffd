"""A small model of the wanted width is timed, and what it takes is a processor's time."""

from __future__ import annotations

import pytest

from quantize.evaluate.pace import comparison_seconds, operations_of, product_seconds, small_model


def test_the_small_model_is_as_wide_as_is_worth_it() -> None:
    demo, large = small_model(256, 768), small_model(4096, 11_008)
    assert (demo.n_embd, demo.n_ff) == (256, 768)
    assert (large.n_embd, large.n_ff, large.n_layer) == (1024, 2816, 1)
    assert operations_of(large) == 4 * 1024**2 + 3 * 1024 * 2816
    assert 2**22 <= operations_of(demo) < 2**23
    odd = small_model(96, 100)
    assert odd.n_embd % odd.n_head == 0
    assert operations_of(odd) >= 2**22


@pytest.mark.model
def test_products_are_timed() -> None:
    assert 1e-13 < product_seconds(1, 64, 100) < 1e-8
    assert 1e-11 < comparison_seconds(300) < 1e-5
