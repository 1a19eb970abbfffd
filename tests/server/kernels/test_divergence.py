"""The loss of a file computed with these kernels is its loss with ggml's: divergence from exact numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.kernel_loss import TYPES, Loss
from server.kernels.outlook import LIBRARY_VARIABLE

MOST_MORE = 0.01
"""The mean divergence with ours is no more than this part above that with ggml's."""
MOST_LESS = {"F16": 1.0, "BF16": 1.0}
"""It is no more than this part below it, too: 0.01, but where ggml rounds activations to halves, which we
don't."""


def losses_of(types: Sequence[str], n_windows: int, folder: Path) -> dict[str, Loss]:
    """Return the demo model's losses, measured by a process of their own.

    llama.cpp settles at a process's first load where weights may lie.
    """
    out = folder / "losses.json"
    command = [sys.executable, "-m", "bench.kernel_loss", "demo", "--types", *types]
    command += ["--windows", str(n_windows), "--json", str(out)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3], stdout=subprocess.DEVNULL)
    return {loss.type: loss for loss in map(Loss.from_document, json.loads(out.read_bytes()))}


@pytest.fixture(scope="module")
def all_losses(library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loss]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LIBRARY_VARIABLE, str(library_path))
        return losses_of(TYPES, 64, tmp_path_factory.mktemp("losses"))


def require_like(loss: Loss, most_error: float) -> None:
    """Two standard errors are chance's."""
    assert loss.n_matrices > 0
    assert (loss.ours != loss.own).any()  # other kernels did it
    mean, error = loss.difference.value, loss.difference.error
    assert error < most_error, "a real difference would not show"
    assert -MOST_LESS.get(loss.type, 0.01) - 2 * error <= mean <= MOST_MORE + 2 * error, (mean, error)


@pytest.mark.model
@pytest.mark.usefixtures("library")
def test_the_divergence_is_that_with_ggmls_kernels(tmp_path: Path) -> None:
    losses = losses_of(["Q4_K_M", "F16"], 4, tmp_path)
    require_like(losses["Q4_K_M"], 0.01)
    require_like(losses["F16"], 0.05)
    assert losses["F16"].difference.value < -0.2, "activations stay floats beside weights in halves"


@pytest.mark.model
@pytest.mark.thorough
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("type_", TYPES)
def test_the_divergence_of_every_type_is_that_with_ggmls_kernels(
    type_: str, all_losses: dict[str, Loss]
) -> None:
    """All types see the same tokens, and are compared with the same exact numbers."""
    require_like(all_losses[type_], 0.01)


def test_a_difference_shows_in_spite_of_the_texts_own_spread() -> None:
    own = np.array([0.010, 0.020, 0.015, 0.030])
    difference = Loss("Q4_K_M", 1, own * 1.03, own).difference
    assert difference.value == pytest.approx(0.03)
    assert difference.error < 0.001


def test_chance_in_a_difference_is_known() -> None:
    own = np.full(400, 0.010)
    ours = own + np.random.default_rng(0).normal(0.0, 0.001, 400)
    difference = Loss("Q4_K_M", 1, ours, own).difference
    assert difference.error == pytest.approx(0.1 / 20, rel=0.2)
    assert abs(difference.value) < 3 * difference.error
