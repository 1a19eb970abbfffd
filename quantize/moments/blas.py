"""`one_blas_thread`: products of matrices take their caller's thread, and have the same bits always."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Have NumPy's BLAS use one thread in the whole process while the block runs.

    With several, it cuts a product's sums by their number. Callers bring threads of their own.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
