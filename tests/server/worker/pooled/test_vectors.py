from __future__ import annotations

import numpy as np
import pytest

from server.worker.pooled.vectors import cosines, normalized, shortened

ROWS = np.array([[3.0, -4.0], [0.0, 0.0], [1.0, 1.0]], np.float32)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (-1, [3.0, -4.0]),
        (0, [3.0 / 4.0 * 32760.0, -32760.0]),
        (1, [3.0 / 7.0, -4.0 / 7.0]),
        (2, [0.6, -0.8]),
        (3, [3.0 / 91.0 ** (1 / 3), -4.0 / 91.0 ** (1 / 3)]),
    ],
)
def test_norms_are_llama_servers(norm: int, expected: list[float]) -> None:
    found = normalized(ROWS, norm)
    assert found[0].tolist() == pytest.approx(expected)
    assert found[1].tolist() == [0.0, 0.0]
    assert found.dtype == np.float32


def test_a_shortened_vector_is_normalized_again() -> None:
    (vector,) = normalized(shortened(np.array([[3.0, 4.0, 12.0]], np.float32), 2), 2)
    assert vector.tolist() == pytest.approx([0.6, 0.8])


def test_cosines_are_of_pairs() -> None:
    assert cosines(ROWS, ((0, 2), (2, 2), (0, 1))).tolist() == pytest.approx([-1 / (5 * 2**0.5), 1.0, 0.0])
