"""`deploy`: replicas with workers that sleep, deployed by the product's own calls.

A token costs no processor there, so that machines of two cores can show whether four replicas do four times
what one does.
"""

from __future__ import annotations

import time
from pathlib import Path

from server.cli.cluster.connection import connected
from server.cluster.plan import ClusterPlan
from server.cluster.plan_file import plan_of
from server.cluster.replica import model_replica
from server.cluster.replica.replica_service import ReplicaService
from server.jobs.table import JobTable
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.supervisor import Supervisor
from tests.server.supervisor.conftest import QUICK, scripted_command, spec_of


class ScriptedReplica(model_replica.ModelReplica):
    """A replica whose worker is the supervisor tests' scripted one."""

    async def __init__(self, _planned: bytes) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        self._jobs = JobTable()
        entry = CatalogueEntry(name="one", path=MODEL, type="Q8_0", size_bytes=1, created=1)
        catalogue = Catalogue((entry,), tuple)
        self._grace_s = 30.0
        self._service = ReplicaService(
            Supervisor(catalogue, spec_of, policy=QUICK, command=scripted_command),
            deployment="one",
            max_ongoing=16,
            version="1",
        )
        await self._service.start(model_replica.ApiProcesses().addresses)


MODEL = Path("/tmp/corral-scripted-replica.gguf")  # noqa: S108 - a file that every host sees


def deploy(count: int) -> None:
    """Deploy so many, one on each machine, and return once they answer."""
    MODEL.write_text("{}")
    model_replica.ModelReplica = ScriptedReplica  # type: ignore[assignment,misc]
    number = {"min": count, "max": count, "per_node": 1}
    plan = plan_of(str(MODEL), "one", cpus=0.5, replicas=number, options={"parallel": 8})
    with connected() as cluster:
        cluster.deploy([*plan.deployments.values()])
        cluster.keep(ClusterPlan(plan.deployments))
        while [report.n_running for report in cluster.reports()] != [count]:
            time.sleep(0.5)
