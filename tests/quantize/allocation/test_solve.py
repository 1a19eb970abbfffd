from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.errors import QuantizationError
from quantize.allocation.candidates import Candidate, candidates
from quantize.allocation.sensitivity import group_tensors
from quantize.allocation.solve import Losses, allocate


def problem(seed: int, n: int) -> Losses:
    random = np.random.default_rng(seed)
    losses = {}
    for i in range(n):
        scale, size = float(random.gamma(0.5)), int(random.integers(1, 9)) * 320
        losses[f"t{i}"] = {
            Candidate(kind, size * bits // 32 * 32): scale * 4.0**-bits
            for kind, bits in enumerate((3, 4, 5, 6, 8))
        }
    return losses


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_best_of_all_choices(seed: int) -> None:
    losses = problem(seed, 5)
    least = sum(min(c.n_bytes for c in some) for some in losses.values())
    most = sum(max(c.n_bytes for c in some) for some in losses.values())
    budget = (least + most) // 2
    best = min(
        sum(losses[name][c] for name, c in zip(losses, choice, strict=True))
        for choice in itertools.product(*losses.values())
        if sum(c.n_bytes for c in choice) <= budget
    )
    found = allocate(losses, budget)
    assert found.n_bytes <= budget
    assert set(found.candidates) == set(losses)
    assert found.loss <= best * 1.001 + 1e-12


def test_too_small_a_size_is_refused() -> None:
    losses = problem(1, 4)
    with pytest.raises(QuantizationError, match="the smallest that this model can be made"):
        allocate(losses, 100)


def test_candidates() -> None:
    assert len(candidates((256, 4), has_weights=True, small=True)) > len(
        candidates((256, 4), has_weights=False, small=True)
    )
    sizes = [candidate.n_bytes for candidate in candidates((256, 4), has_weights=False, small=False)]
    assert sizes == sorted(sizes)
    assert len(candidates((96, 4), has_weights=True, small=True)) == 5
    assert len(candidates((7, 4), has_weights=True, small=True)) == 1


def test_groups_are_neighbours_of_a_kind() -> None:
    names = [f"blk.{layer}.{kind}.weight" for layer in range(10) for kind in ("attn_q", "ffn_up")]
    assert len(group_tensors(["token_embd.weight", *names], 256)) == 21
    groups = group_tensors(["token_embd.weight", *names], 7)
    assert len(groups) <= 7
    assert sorted(name for group in groups for name in group) == sorted([*names, "token_embd.weight"])
    assert ("token_embd.weight",) in groups
