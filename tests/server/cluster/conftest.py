"""A fleet over replicas in processes of their own, with scripted workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from server.cluster.fleet import Fleet, FleetPolicy
from tests.server.cluster.replica_process import ReplicaProcess, ScriptedCluster
from tests.server.supervisor.test_supervisor import until

POLICY = FleetPolicy(load_wait_s=10.0, poll_s=0.05, silent_ticks=2)

StartReplicas = Callable[..., list[ReplicaProcess]]
StartFleet = Callable[..., Awaitable[Fleet]]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ReplicaProcess]]:
    """Two replicas for tests that leave them as they are."""
    model = tmp_path_factory.mktemp("lasting") / "one.json"
    model.write_text("{}")
    replicas = ReplicaProcess.start(model, 2)
    yield replicas
    for replica in replicas:
        replica.stop()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[StartReplicas]:
    """Start replicas that may be killed."""
    started: list[ReplicaProcess] = []

    def start(n: int, model: Path | None = None) -> list[ReplicaProcess]:
        if model is None:
            model = tmp_path / "one.json"
            model.write_text("{}")
        started.extend(ReplicaProcess.start(model, n))
        return started

    yield start
    for replica in started:
        replica.stop()


@pytest_asyncio.fixture
async def fleet_over() -> AsyncIterator[StartFleet]:
    """Start fleets over all replicas that live; they leave with the test, whatever happens in it."""
    fleets: list[Fleet] = []

    async def start(cluster: ScriptedCluster, policy: FleetPolicy = POLICY) -> Fleet:
        fleets.append(fleet := Fleet(cluster, host="127.0.0.1", policy=policy))
        await fleet.start()
        await until(lambda: len(list(fleet._table.roster)) == len(cluster.alive))
        return fleet

    yield start
    for fleet in fleets:
        await fleet.stop(0.0)


def notes_of(replica: ReplicaProcess) -> list[str]:
    """What the scripted workers of a replica's model have noted."""
    path = replica.mark.with_name("one.json.adapters")
    return path.read_text().splitlines() if path.exists() else []


def cancelled(replica: ReplicaProcess) -> Path:
    """The file that tells that a scripted worker of the replica's model has cancelled a request."""
    return replica.mark.with_name("one.json.cancelled")
