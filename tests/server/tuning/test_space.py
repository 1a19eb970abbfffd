from __future__ import annotations

import pytest

from server.ipc.launch import SPIN_COUNT
from server.tuning.space import Site, space_for, thread_counts


@pytest.mark.parametrize(
    ("cores", "threads", "counts"),
    [(1, 1, (1,)), (1, 2, (1, 2)), (2, 2, (1, 2)), (4, 8, (1, 2, 3, 4, 8)), (16, 16, (4, 8, 12, 15, 16))],
)
def test_thread_counts(cores: int, threads: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(cores, threads) == counts


def test_the_defaults_are_in_the_space() -> None:
    for site in (Site(1, 1, openmp=True, gpu=False), Site(8, 16, openmp=False, gpu=True)):
        space = space_for(site, allow_kv_quant=True)
        for dimension in space.dimensions:
            assert getattr(space.defaults, dimension.name) in dimension.values
        assert len(space.changes()) == sum(len(dimension.values) - 1 for dimension in space.dimensions)


def test_a_quantized_cache_only_when_allowed() -> None:
    site = Site(2, 2, openmp=True, gpu=False)
    assert "kv_type" not in {dimension.name for dimension in space_for(site).dimensions}
    assert any("--allow-kv-quant" in note for note in space_for(site).notes)
    allowed = space_for(site, allow_kv_quant=True)
    assert "kv_type" in {dimension.name for dimension in allowed.dimensions}
    assert allowed.size == 2 * space_for(site).size


def test_no_spin_without_openmp_or_with_one_thread() -> None:
    for site in (Site(4, 4, openmp=False, gpu=False), Site(1, 1, openmp=True, gpu=False)):
        space = space_for(site)
        assert "spin_count" not in {dimension.name for dimension in space.dimensions}
        assert space.defaults.spin_count == SPIN_COUNT
    assert any("OpenMP" in note for note in space_for(Site(2, 2, openmp=True, gpu=False)).notes)
