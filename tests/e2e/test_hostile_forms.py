"""Hostile schemas and grammars, posted to the product while a neighbour streams: nobody dies, all is said."""

from __future__ import annotations

import asyncio

import pytest

from bench.hostile_neighbours import Round, measure
from tests.e2e.running import RunningServer
from tests.hostile_grammars import hostile_constraints

pytestmark = [pytest.mark.e2e, pytest.mark.model]


ONE_OF_EACH = 17
"""So many kinds of them there are, which take turns."""


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("n", [ONE_OF_EACH, pytest.param(500, marks=pytest.mark.thorough)])
def test_each_gets_an_answer_and_the_worker_lives(forms_server: RunningServer, n: int) -> None:
    (worker,) = forms_server.workers()
    flood: Round = {"refused": [*hostile_constraints(n)]}
    # Dear forms have what others leave of the machine: the neighbour leaves some.
    outcome = asyncio.run(measure(forms_server.url, [flood], clients=2, behind=False, rest_s=1.0))
    assert not outcome.unclear, "\n".join(outcome.unclear)
    assert sum(outcome.statuses.values()) == n
    assert outcome.statuses[400] > n / 2
    assert set(outcome.statuses) <= {200, 400, 413}
    assert [process.pid for process in forms_server.workers()] == [worker.pid]
    gaps = [gap for part in outcome.gaps.values() for kept in part for gap in kept]
    assert max(gaps) < 10, "the neighbour's stream goes on"
