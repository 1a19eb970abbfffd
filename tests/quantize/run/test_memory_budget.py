"""Memory is known before: smaller blocks, then fewer threads, until it fits; or an error saying what fits."""

from __future__ import annotations

import pytest

from models.errors import QuantizationError
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.kernels.compiler import MEMORY_BYTES
from quantize.plan.make_plan import make_plan
from quantize.run.encode import BLOCK_ELEMENTS
from quantize.run.memory_budget import BASE_BYTES, bounds_for
from tests.pico import write_pico_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("bounds") / "wide"
    return Checkpoint.open(write_pico_checkpoint(folder, n_layers=1, config={"intermediate_size": 8192}))


def test_bounds_follow_the_limit(checkpoint: Checkpoint) -> None:
    plan = make_plan(checkpoint, ["Q8_0", "Q4_K_M"])
    free = bounds_for(plan, checkpoint.tensors, 4)
    assert (free.threads, free.block_elements) == (4, BLOCK_ELEMENTS)
    assert free.memory_bytes > BASE_BYTES
    before = free
    while (before.threads, before.block_elements) != (1, 2**16):
        tighter = bounds_for(plan, checkpoint.tensors, 4, before.memory_bytes - 1)
        assert tighter.memory_bytes < before.memory_bytes
        assert tighter.threads <= before.threads
        before = tighter
    with pytest.raises(QuantizationError, match=r"give --memory at least \d+MiB"):
        bounds_for(plan, checkpoint.tensors, 4, before.memory_bytes - 1)


def test_a_limit_that_is_large_enough_changes_nothing(checkpoint: Checkpoint) -> None:
    plan = make_plan(checkpoint, ["Q8_0"])
    free = bounds_for(plan, checkpoint.tensors, 2)
    assert bounds_for(plan, checkpoint.tensors, 2, free.memory_bytes) == free


def test_encoders_are_compiled_where_they_are_worth_it_and_fit(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(checkpoint, ["Q8_0", "Q4_K_M"])
    assert not bounds_for(plan, checkpoint.tensors, 2).compiled, "a small model is done before they are"
    monkeypatch.setattr("quantize.run.memory_budget.WORTH_ELEMENTS", 1000)
    roomy = bounds_for(plan, checkpoint.tensors, 2)
    assert roomy.compiled
    assert bounds_for(plan, checkpoint.tensors, 2, roomy.memory_bytes) == roomy
    tight = bounds_for(plan, checkpoint.tensors, 2, roomy.memory_bytes - MEMORY_BYTES)
    assert not tight.compiled
    assert (tight.threads, tight.block_elements) == (roomy.threads, roomy.block_elements)
    assert not bounds_for(make_plan(checkpoint, ["Q8_0", "F16"]), checkpoint.tensors, 2).compiled
