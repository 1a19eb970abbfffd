"""`ClusterModels`: a cluster's models as a server serves them, from its start to its end.

The fleet has the models; here are the life that `ModelServer` gives them, and the aliases of the cluster's
plan, which are presets of each API process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from models.errors import ConfigError, WorkerError
from server.cluster.fleet import Fleet
from server.cluster.plan import ClusterPlan
from server.http.dependencies import Api
from server.presets.book import check_models
from server.presets.read import read_presets
from server.presets.table import PresetTable
from server.supervisor.service_layer import ServiceLayer

ALIASES_S = 2.0
"""The cluster's plan is looked at, at this interval."""

logger = logging.getLogger("corral.cluster")


class ClusterModels(ServiceLayer):
    """The `ServedModels` of an API process. `presets` are those of its own settings."""

    def __init__(self, fleet: Fleet, presets: PresetTable) -> None:
        super().__init__(fleet)
        self._fleet = fleet
        self._presets = presets
        self._started: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()

    @property
    def n_running(self) -> int:
        return self._fleet.n_running

    def start(self) -> None:
        self._started = asyncio.create_task(self._fleet.start(), name="fleet")

    async def wait_ready(self) -> None:
        """Return once the cluster has told what is deployed; replicas may be on their way still.

        Raises WorkerError if it doesn't, and ConfigError for a preset of a model that isn't deployed.
        """
        assert self._started is not None, "it is started first"
        await asyncio.shield(self._started)
        check_models(self._presets, self._fleet.find, self._fleet.models)

    async def stop(self, grace_s: float) -> None:
        if self._started is not None and not self._started.done():
            self._started.cancel()
            await asyncio.wait([self._started])
        stopping = asyncio.create_task(self._fleet.stop(grace_s))
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait([stopping, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait([stopping])
            await self._fleet.stop(0.0)
        else:
            await stopping

    def kill(self) -> None:
        self._hurried.set()


def with_aliases(presets: PresetTable, plan: ClusterPlan, address: str) -> PresetTable:
    """Return the presets with the plan's aliases. Of the same name, the preset of the settings counts."""
    aliases = read_presets(plan.presets(), "", f"the cluster at {address}")
    return PresetTable(aliases.presets | presets.presets)


def follow_aliases(
    read_plan: Callable[[], ClusterPlan], presets: Callable[[], PresetTable], address: str
) -> Callable[[Api], Awaitable[None]]:
    """Return what keeps an application's presets like the aliases of the cluster, until it is cancelled.

    `read_plan` may raise; then they stay as they are. `presets` are those of the settings now.
    """

    async def follow(api: Api) -> None:
        while True:
            await asyncio.sleep(ALIASES_S)
            try:
                table = with_aliases(presets(), read_plan(), address)
            except (WorkerError, ConfigError, ConnectionError, TimeoutError) as error:
                logger.warning("the cluster's aliases can't be read: %s", error)
                continue
            for change in api.presets.replace(table):
                logger.info("the alias %s", change)

    return follow
