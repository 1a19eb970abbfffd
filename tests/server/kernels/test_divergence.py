"""The loss of a file computed with these kernels is its loss with ggml's: its divergence from 16 bits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.llamacpp.kernel_library import KernelLibrary
from tests.quantize.quantize_folder import quantize_folder

TYPES = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q4_0", "IQ4_NL", "IQ4_XS")
BASELINE = "F16"
MOST_DIFFERENCE = 0.01
"""The mean divergences differ by no more than this part of them, beyond what chance brings."""


def divergences(
    kernels: str, files: Sequence[Path], n_parts: int, n_windows: int
) -> tuple[int, npt.NDArray[np.float64]]:
    """Return the number of matrices in panels, and the divergences [part][file] from the first file."""
    command = [sys.executable, "-m", "tests.server.kernels.divergence_child", kernels]
    command += [str(n_parts), str(n_windows), *map(str, files)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, check=True, cwd=root, stdout=subprocess.PIPE, text=True)
    n_matrices, means = json.loads(done.stdout)
    return n_matrices, np.array(means)


def relative_difference(
    ours: npt.NDArray[np.float64], own: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how much more the divergence of each file is with ours, and the error of that, in parts of it.

    Both see the same text, so what differs is judged part by part.
    """
    change = (ours - own) / own.mean(axis=0)
    error = change.std(axis=0, ddof=1) / np.sqrt(len(change))
    return change.mean(axis=0), error


@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("type_", "n_parts", "n_windows", "most_error"),
    [
        ("Q4_K_M", 3, 2, 0.015),
        *(pytest.param(type_, 5, 4, 0.05, marks=pytest.mark.thorough) for type_ in TYPES),
    ],
)
def test_the_divergence_is_that_with_ggmls_kernels(
    type_: str, n_parts: int, n_windows: int, most_error: float, tmp_path: Path, library: KernelLibrary
) -> None:
    """Where few bits are lost, the sums' own rounding is a part of the divergence, and chance in it."""
    written = quantize_folder("demo", [BASELINE, type_], tmp_path)
    files = sorted((file.path for file in written), key=lambda path: f".{BASELINE}." not in path.name)
    n_matrices, ours = divergences("on", files, n_parts, n_windows)
    n_own, own = divergences("off", files, n_parts, n_windows)
    assert n_own == 0 < n_matrices
    assert library.sets()
    mean, error = relative_difference(ours, own)
    assert (ours != own).any()  # other kernels did it
    assert (error < most_error).all()  # so that a real difference shows
    assert (np.abs(mean) <= MOST_DIFFERENCE + 2 * error).all()


def test_a_difference_shows_in_spite_of_the_texts_own_spread() -> None:
    own = np.array([[0.010], [0.020], [0.015], [0.030]])
    mean, error = relative_difference(own * 1.03, own)
    assert mean == pytest.approx(0.03)
    assert error < 0.01
    assert np.abs(mean) > MOST_DIFFERENCE + 2 * error
