"""A cluster's models as a server has them: their life, and the aliases of the plan as presets."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import cast

import pytest

from models.errors import ConfigError, CorralError, WorkerError
from models.paths import Paths
from server.cluster import api_models
from server.cluster.api_models import ClusterModels, follow_aliases, with_aliases
from server.cluster.fleet import Fleet
from server.cluster.plan import ClusterPlan, PlannedAlias, PlannedDeployment
from server.config import ServerConfig
from server.http.dependencies import Api
from server.presets.book import PresetBook
from server.presets.read import read_presets
from server.presets.table import PresetTable
from server.serve import ModelServer, ServedModels, ServeObserver, kept_parts, listen
from tests.server.cluster.conftest import POLICY
from tests.server.cluster.replica_process import ReplicaProcess, ScriptedCluster
from tests.server.cluster.test_fleet import Reader
from tests.server.supervisor.test_supervisor import until


def plan_with(**arms: float) -> ClusterPlan:
    deployments = {name: PlannedDeployment(name=name, model="demo:Q8_0", cpus=1.0) for name in ("a", "b")}
    return ClusterPlan(deployments, {"house": PlannedAlias(name="house", arms=arms)})


def shares(table: PresetTable) -> dict[str, dict[str, float]]:
    return {
        name: {target.model: target.share for target in preset.targets}
        for name, preset in table.presets.items()
    }


def test_aliases_stand_beside_the_settings_presets_which_win() -> None:
    own = read_presets({"mine": "a", "house": "b"}, "", "corral.toml")
    assert shares(with_aliases(PresetTable(), plan_with(a=3, b=1), "10.0.0.1")) == {
        "house": {"a": 0.75, "b": 0.25}
    }
    assert shares(with_aliases(own, plan_with(a=1), "10.0.0.1")) == {"mine": {"a": 1.0}, "house": {"b": 1.0}}


async def test_aliases_follow_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_models, "ALIASES_S", 0.01)
    plans: list[ClusterPlan | CorralError] = [plan_with(a=1), WorkerError("Ray is away"), plan_with(b=1)]

    def read() -> ClusterPlan:
        plan = plans.pop(0) if len(plans) > 1 else plans[0]
        if isinstance(plan, CorralError):
            raise plan
        return plan

    class HasPresets:
        presets = PresetBook(PresetTable())

    follow = follow_aliases(read, PresetTable, "10.0.0.1")
    task = asyncio.ensure_future(follow(cast("Api", HasPresets)))
    await until(lambda: shares(HasPresets.presets.table) == {"house": {"b": 1.0}})
    task.cancel()


async def test_a_second_wish_to_end_ends_at_once(lasting: list[ReplicaProcess]) -> None:
    fleet = Fleet(ScriptedCluster(lasting), host="127.0.0.1", policy=POLICY)
    models = ClusterModels(fleet, PresetTable())
    models.start()
    await models.wait_ready()
    assert [status.name for status in models.models()] == ["one"]
    reader = Reader(fleet, "going 400 0.05", "r1")
    await until(reader.has_output)
    assert models.n_running == 1
    stopping = asyncio.create_task(models.stop(60.0))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    models.kill()
    async with asyncio.timeout(5):
        await stopping
        await reader.task


async def test_a_preset_of_what_is_not_deployed_ends_the_start(lasting: list[ReplicaProcess]) -> None:
    fleet = Fleet(ScriptedCluster(lasting), host="127.0.0.1", policy=POLICY)
    models = ClusterModels(fleet, read_presets({"mine": "gone"}, "", "corral.toml"))
    models.start()
    with pytest.raises(ConfigError, match="the model 'gone' isn't here"):
        await models.wait_ready()
    await models.stop(0.0)


def test_a_server_without_models_of_its_own(lasting: list[ReplicaProcess], tmp_path: Path) -> None:
    class Looking(ServeObserver):
        names: tuple[str, ...] = ()

        async def on_ready(self, models: ServedModels) -> None:
            self.names = tuple(status.name for status in models.models())
            os.kill(os.getpid(), signal.SIGINT)

    async def note(_api: Api) -> None:
        ran.append(True)
        await asyncio.sleep(60)

    ran: list[bool] = []
    config = ServerConfig(port=0)
    fleet = Fleet(ScriptedCluster(lasting), host="127.0.0.1", policy=POLICY)
    parts = kept_parts(config, Paths(home=tmp_path, hf_cache=tmp_path))
    observer = Looking()
    with listen("127.0.0.1", 0) as listener:
        ModelServer(config, ClusterModels(fleet, PresetTable()), parts, beside=[note]).run(listener, observer)
    assert (observer.names, ran) == (("one",), [True])
