"""The plan for made-up GPUs: layers that fit, and experts that stay on the host where they don't."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.machine.device import Device
from models.machine.fit import GIB, MIB, MemoryEstimate
from models.machine.gpu_plan import Count, GpuPlan, plan_gpu


def gpu(free_gib: float, kind: str = "gpu") -> Device:
    return Device("X", "x", kind, int(80 * GIB), int(free_gib * GIB))


# 32 layers of 200 MiB with 16 MiB of cache each; 500 MiB on either end; half a GiB to compute.
NEEDS = MemoryEstimate(500 * MIB, (200 * MIB,) * 32, 500 * MIB, (16 * MIB,) * 32, 512 * MIB, 0)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([], 0),
        ([Device("CPU", "x", "cpu", 2**40, 2**40)], 0),
        ([gpu(80)], 33),
        ([gpu(0.5)], 0),
        ([gpu(1.4)], 0),
        # 1 GiB goes to margin and computing, 500 MiB to the output, 216 MiB to each layer.
        ([gpu(1.5)], 1),
        ([gpu(3)], 1 + (2048 - 500) // 216),
        ([gpu(5), gpu(5)], 33),
        # Half of the pieces each: four layers; two layers and the output.
        ([gpu(2), gpu(2)], 7),
        ([gpu(80, "igpu")], 33),
        ([gpu(3), gpu(80, "igpu")], 8),
    ],
)
def test_layers_that_fit_the_devices(devices: list[Device], expected: int) -> None:
    assert plan_gpu(NEEDS, devices).n_layers == expected


def test_tied_embeddings_go_to_the_device_as_output() -> None:
    tied = replace(NEEDS, output_weights=1 * MIB)
    assert plan_gpu(tied, [gpu(1.4)]).n_layers == 0
    assert plan_gpu(tied, [gpu(1.5)]).n_layers == 1


# A mixture: of each of 32 layers' 1,016 MiB experts are 900, in tensors of 300; attention and cache 116.
MIXTURE = replace(
    NEEDS,
    layer_weights=(1000 * MIB,) * 32,
    layer_experts=(900 * MIB,) * 32,
    largest_experts=300 * MIB,
)
FIRST = tuple(range(32))


def taken(layers: range, cpu_experts: tuple[int, ...]) -> int:
    """Return the MiB that such a GPU holds: margin, working memory, layers, and a copy of experts."""
    spared = [layer for layer in layers if layer in cpu_experts]
    output = 500 if 32 in layers else 0
    return 1024 + output + 1016 * len([n for n in layers if n < 32]) - 900 * len(spared) + 300 * bool(spared)


@pytest.mark.parametrize(
    ("free_mib", "expected"),
    [
        (64 * 1024, GpuPlan(33)),
        (taken(range(33), ()), GpuPlan(33)),
        # One MiB less: the experts of the first layer stay.
        (taken(range(33), ()) - 1, GpuPlan(33, (0,), fits=False)),
        (taken(range(33), FIRST[:10]), GpuPlan(33, FIRST[:10], fits=False)),
        (taken(range(33), FIRST[:10]) - 1, GpuPlan(33, FIRST[:11], fits=False)),
        (8 * 1024, GpuPlan(33, FIRST[:30], fits=False)),
        (taken(range(33), FIRST), GpuPlan(33, FIRST, fits=False)),
        # Not even all layers without experts: as many as fit so.
        (taken(range(33), FIRST) - 1, GpuPlan(32, FIRST[1:], fits=False)),
        (2 * 1024, GpuPlan(2, (31,), fits=False)),
        (1024, GpuPlan(fits=False)),
    ],
)
def test_experts_stay_on_the_host_before_a_layer_does(free_mib: int, expected: GpuPlan) -> None:
    assert plan_gpu(MIXTURE, [gpu(free_mib / 1024)]) == expected


def test_each_gpu_leaves_as_few_experts_as_it_needs_to() -> None:
    """By layers from the first alone, the small GPU's would have to go first."""
    plan = plan_gpu(MIXTURE, [gpu(16), gpu(16)])
    assert plan.n_layers == 33
    on_first = [layer for layer in plan.cpu_experts if layer < 17]
    on_second = [layer for layer in plan.cpu_experts if layer >= 17]
    assert on_first == list(range(len(on_first)))
    assert on_second == list(range(17, 17 + len(on_second)))
    assert 0 < len(on_second) <= len(on_first) < 17
    assert plan_gpu(MIXTURE, [gpu(80), gpu(80)]) == GpuPlan(33)


def test_a_chosen_number_of_layers_is_kept_and_their_experts_make_way() -> None:
    assert plan_gpu(MIXTURE, [gpu(3)], n_layers=2) == GpuPlan(2)
    assert plan_gpu(MIXTURE, [gpu(3)], n_layers=4) == GpuPlan(4, (29, 30), fits=False)
    assert plan_gpu(MIXTURE, [gpu(2)], n_layers=99) == GpuPlan(33, FIRST, fits=False)
    assert plan_gpu(MIXTURE, [gpu(0)], n_layers=3) == GpuPlan(3, (30, 31), fits=False)
    assert plan_gpu(MIXTURE, [gpu(0)], n_layers=0) == GpuPlan()


@pytest.mark.parametrize(
    ("free_gib", "chosen", "expected"),
    [
        (80, 0, GpuPlan(33)),
        (80, 5, GpuPlan(33, FIRST[:5])),
        (80, 32, GpuPlan(33, FIRST)),
        (80, 1000, GpuPlan(33, FIRST)),
        (8, 32, GpuPlan(33, FIRST)),
        # With no experts to spare, layers leave.
        (8, 0, GpuPlan(7, fits=False)),
        # The experts of the first five layers, none of which is on the GPU.
        (8, 5, GpuPlan(7, fits=False)),
    ],
)
def test_chosen_experts(free_gib: int, chosen: int, expected: GpuPlan) -> None:
    assert plan_gpu(MIXTURE, [gpu(free_gib)], n_cpu_experts=chosen) == expected


def test_dense_layers_have_none_to_leave() -> None:
    some = replace(MIXTURE, layer_experts=(0,) * 3 + (900 * MIB,) * 29)
    assert plan_gpu(some, [gpu(80)], n_cpu_experts=5) == GpuPlan(33, (3, 4))
    assert plan_gpu(NEEDS, [gpu(80)], n_cpu_experts=5) == GpuPlan(33)
    assert plan_gpu(some, [], n_cpu_experts=5) == GpuPlan()


COUNTS = st.just("auto") | st.integers(0, 40)


@given(
    free=st.lists(st.integers(0, 24 * 1024), min_size=1, max_size=3),
    n_layers=COUNTS,
    n_cpu_experts=COUNTS,
)
def test_what_is_planned_fits_unless_it_was_chosen(
    free: list[int], n_layers: Count, n_cpu_experts: Count
) -> None:
    devices = [gpu(mib / 1024) for mib in free]
    plan = plan_gpu(MIXTURE, devices, n_layers=n_layers, n_cpu_experts=n_cpu_experts)
    first = 33 - plan.n_layers
    assert all(first <= layer < 32 for layer in plan.cpu_experts)
    if n_layers == "auto":
        needed = 116 * len(range(first, 32)) + (500 if plan.n_layers else 0)
        needed += 900 * (len(range(first, 32)) - len(plan.cpu_experts))
        assert needed <= sum(max(mib - 1024, 0) for mib in free)
    if plan.fits and n_layers == "auto":
        assert plan.n_layers == 33
    if n_cpu_experts != "auto":
        assert set(plan.cpu_experts) == {layer for layer in range(first, 32) if layer < n_cpu_experts}
