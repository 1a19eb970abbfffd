"""How many replicas the load of a deployment asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from server.cluster.replica.scaling import LOAD, replicas_for_load


def context(metrics: dict[str, dict[str, float]] | None, target: int = 2) -> Any:
    config = SimpleNamespace(get_target_ongoing_requests=lambda: 3.0)
    return SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=target, config=config)


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        (None, 2),
        ({}, 2),
        ({"other": {"a": 9.0}}, 2),
        ({LOAD: {"a": 6.0}}, 2.0),
        ({LOAD: {"a": 6.0, "b": 9.0}}, 5.0),
        ({LOAD: {"a": 0.0, "b": 0.0}}, 0.0),
    ],
)
def test_each_replica_is_to_have_as_many_as_wanted(
    metrics: dict[str, dict[str, float]] | None, wanted: float
) -> None:
    assert replicas_for_load(context(metrics)) == (wanted, {})
