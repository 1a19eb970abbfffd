"""A plan that is brought about: in the right order, waited for, and taken back where it doesn't load."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from models.errors import CorralError
from server.cluster import rollout
from server.cluster.plan import ClusterPlan, PlannedAlias, PlannedDeployment
from server.cluster.rollout import roll_out
from server.cluster.states import AppStatus, DeploymentReport

STARTING: tuple[AppStatus, str | None] = ("deploying", None)
RUNNING: tuple[AppStatus, str | None] = ("running", None)
BROKEN: tuple[AppStatus, str | None] = ("failed", "10.0.0.2: it is no GGUF")


class ScriptedCluster:
    """Tells of each deployment the next of its states, the last one for ever."""

    def __init__(self, **states: list[tuple[AppStatus, str | None]]) -> None:
        self.states = states
        self.plan = ClusterPlan()
        self.calls: list[str] = []

    def keep(self, plan: ClusterPlan) -> None:
        self.plan = plan

    def deploy(self, deployments: Sequence[PlannedDeployment]) -> None:
        self.calls += [f"deploy {each.name} {each.model}" for each in deployments]

    def remove(self, names: Sequence[str]) -> None:
        self.calls += [f"remove {name}" for name in names]

    def reports(self) -> list[DeploymentReport]:
        found = []
        for name in self.plan.deployments:
            states = self.states.get(name, [RUNNING])
            status, problem = states.pop(0) if len(states) > 1 else states[0]
            found.append(DeploymentReport(name=name, model="", status=status, problem=problem))
        return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "POLL_S", 0.0)


def plan_of(*aliases: str, **models: str) -> ClusterPlan:
    deployments = {
        name: PlannedDeployment(name=name, model=model, cpus=1.0) for name, model in models.items()
    }
    return ClusterPlan(
        deployments, {name: PlannedAlias(name=name, arms=dict.fromkeys(models, 1.0)) for name in aliases}
    )


def test_it_waits_until_all_run_and_tells_changes_once() -> None:
    cluster, lines = ScriptedCluster(a=[STARTING, STARTING, RUNNING], b=[RUNNING]), list[str]()
    new = plan_of("x", a="demo:Q8_0", b="demo:Q4_0", c="demo:F32")
    roll_out(cluster, plan_of(b="demo:Q8_0", c="demo:F32"), new, lines.append)
    assert cluster.calls == ["deploy a demo:Q8_0", "deploy b demo:Q4_0"]
    assert cluster.plan == new
    assert lines[:2] == ["new: a", "replaced: b"]
    assert lines.count("a: no replica yet") == 1


def test_nothing_to_do_keeps_the_aliases() -> None:
    cluster, lines = ScriptedCluster(), list[str]()
    new = plan_of("x", a="demo:Q8_0")
    roll_out(cluster, plan_of(a="demo:Q8_0"), new, lines.append)
    assert (cluster.calls, cluster.plan) == ([], new)
    assert lines == ["everything is deployed as it is to be"]


def test_a_version_that_does_not_load_is_taken_back() -> None:
    cluster = ScriptedCluster(a=[STARTING, BROKEN], b=[STARTING, STARTING, RUNNING])
    old = plan_of(a="demo:Q8_0", b="demo:Q8_0")
    new = plan_of("x", a="demo:Q4_0", b="demo:Q4_0")
    with pytest.raises(CorralError) as caught:
        roll_out(cluster, old, new, lambda _: None)
    assert caught.value.message == ("a doesn't load: 10.0.0.2: it is no GGUF; still serving as before: a")
    assert cluster.calls[2:] == ["deploy a demo:Q8_0"]
    assert {name: each.model for name, each in cluster.plan.deployments.items()} == {
        "a": "demo:Q8_0",
        "b": "demo:Q4_0",
    }
    assert [*cluster.plan.aliases] == ["x"]


def test_a_new_one_that_does_not_load_is_removed_with_its_alias() -> None:
    cluster = ScriptedCluster(a=[BROKEN])
    with pytest.raises(CorralError, match="nothing of it was deployed before"):
        roll_out(cluster, ClusterPlan(), plan_of("x", a="demo:Q4_0"), lambda _: None)
    assert cluster.calls[1:] == ["remove a"]
    assert cluster.plan == ClusterPlan()


def test_what_has_failed_before_is_begun_anew_if_it_is_wanted() -> None:
    cluster, lines = ScriptedCluster(a=[BROKEN, STARTING, RUNNING], b=[BROKEN]), list[str]()
    plan = plan_of(a="demo:Q8_0", b="demo:Q8_0")
    cluster.keep(plan)
    roll_out(cluster, plan, plan, lines.append, ["a"])
    assert cluster.calls == ["remove a", "deploy a demo:Q8_0"]
    assert lines[:2] == ["failed before, and begun anew: a", "new: a"]
    assert cluster.plan == plan


def test_what_fails_once_more_leaves_the_plan() -> None:
    cluster = ScriptedCluster(a=[BROKEN])
    plan = plan_of("x", a="demo:Q8_0")
    cluster.keep(plan)
    with pytest.raises(CorralError, match="nothing of it was deployed before"):
        roll_out(cluster, plan, plan, lambda _: None, ["a"])
    assert cluster.plan == ClusterPlan()
