"""What a cluster is to have: versions, changes from one plan to the next, aliases."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import ConfigError
from server.cluster.plan import Changes, ClusterPlan, PlannedAlias, PlannedDeployment, has_room
from server.presets.read import read_presets


def planned(name: str = "one", **changes: Any) -> PlannedDeployment:
    return PlannedDeployment(**{"name": name, "model": "demo:Q8_0", "cpus": 2.0, **changes})


def plan_of(*deployments: PlannedDeployment, aliases: dict[str, PlannedAlias] | None = None) -> ClusterPlan:
    return ClusterPlan({each.name: each for each in deployments}, aliases or {})


def alias(name: str, **arms: float) -> PlannedAlias:
    return PlannedAlias(name=name, arms=arms)


def test_a_version_is_all_for_which_replicas_start_anew() -> None:
    same = planned()
    assert planned(max_replicas=9, ongoing=2.0, up_after_s=1.0).version == same.version
    others = [
        planned(model="demo:Q4_K_M"),
        planned(cpus=3.0),
        planned(gpus=1.0),
        planned(options={"ctx": 4096}),
        planned(options={"ctx": 2048}),
    ]
    assert len({same.version, *(each.version for each in others)}) == 6
    ordered = planned(options={"ctx": 1, "parallel": 2}), planned(options={"parallel": 2, "ctx": 1})
    assert ordered[0].version == ordered[1].version


def test_a_replica_has_a_thread_per_cpu_and_a_short_queue() -> None:
    each = planned(options={"parallel": 16, "ctx": 4096})
    assert (each.config.threads, each.config.ctx) == (2, 4096)
    assert (each.max_ongoing, each.target_ongoing) == (24, 12.0)
    assert planned(cpus=0.5).config.threads == 1
    assert planned(options={"parallel": 1}).max_ongoing == 3
    assert planned(ongoing=2.5).target_ongoing == 2.5


def test_changes() -> None:
    old = plan_of(planned("a"), planned("b"), planned("c"), planned("d"))
    new = plan_of(planned("a"), planned("b", max_replicas=2), planned("c", gpus=1.0), planned("e"))
    changes = Changes.between(old, new)
    assert changes == Changes(added=("e",), replaced=("c",), scaled=("b",), removed=("d",))
    assert changes.deployed == ("e", "c", "b")
    assert Changes.between(old, old) == Changes()


def test_a_plan_is_added_to_another() -> None:
    old = plan_of(planned("a"), planned("b"), aliases={"x": alias("x", a=1)})
    new = old.with_all_of(plan_of(planned("b", cpus=1.0), aliases={"y": alias("y", a=9, b=1)}))
    assert [*new.deployments] == ["a", "b"]
    assert new.deployments["b"].cpus == 1.0
    assert [*new.aliases] == ["x", "y"]


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (plan_of(aliases={"y": alias("y", c=1)}), "has the arm 'c', which isn't deployed; there are: a"),
        (plan_of(aliases={"a": alias("a", a=1)}), "'a' is an alias and a deployment"),
    ],
)
def test_what_can_not_be_added(added: ClusterPlan, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_of(planned("a")).with_all_of(added)


def test_taking_away() -> None:
    plan = plan_of(planned("a"), planned("b"), aliases={"x": alias("x", a=1)})
    assert [*plan.without("b").deployments] == ["a"]
    assert plan.without("x").aliases == {}
    with pytest.raises(ConfigError, match="corral cluster down x"):
        plan.without("a")
    with pytest.raises(ConfigError, match="no deployment 'c' in the cluster; there are: a, b, x"):
        plan.without("c")


def test_aliases_are_presets_with_arms() -> None:
    plan = plan_of(
        planned("a"),
        planned("b"),
        aliases={"x": PlannedAlias(name="x", arms={"a": 90, "b": 10}, sticky=False)},
    )
    preset = read_presets(plan.presets(), "", "the cluster").presets["x"]
    assert [(target.arm, target.model, target.share) for target in preset.targets] == [
        ("a", "a", 0.9),
        ("b", "b", 0.1),
    ]
    assert preset.sticky is False


def test_a_plan_is_kept_as_it_is() -> None:
    plan = plan_of(
        planned("a", options={"ctx": 1, "kv_unified": True}, per_node=1), aliases={"x": alias("x", a=1)}
    )
    assert ClusterPlan.decoded(plan.encoded()) == plan
    assert ClusterPlan.decoded(None) == ClusterPlan()
    with pytest.raises(ConfigError, match="another version of Corral"):
        ClusterPlan.decoded(b'{"deployments": {"a": {}}}')


def test_room() -> None:
    free = {"one": {"CPU": 4.0}, "two": {"CPU": 1.0, "GPU": 2.0}, "three": {}}
    assert has_room(4, 0, free)
    assert has_room(1, 2, free)
    assert not has_room(2, 1, free)
    assert not has_room(5, 0, free)


def test_the_name_for_clients() -> None:
    assert planned(model="lmsys/vicuna-7b-v1.5@main:Q8_0").served_name == "lmsys/vicuna-7b-v1.5:Q8_0"
    assert planned().scaling() == "1"
    assert planned(max_replicas=3).scaling() == "1 to 3"
