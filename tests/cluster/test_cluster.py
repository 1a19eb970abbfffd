"""A cluster of two hosts as its users have it: deployed, killed under load, replaced, scaled.

The tests stand in this order on purpose: starting Ray anew for each would take minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from bench.cluster_cost import processor_s
from tests.cluster.conftest import LocalCluster, join, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

STREAMS = ("--model", "exact", "--requests", os.environ.get("CORRAL_CLUSTER_STREAMS", "12"))
LENGTH = ("--max-tokens", os.environ.get("CORRAL_CLUSTER_TOKENS", "200"))
PAUSE_S, CUT_PAUSE_S = 6.0, 10.0

EXACT = """
[deployments.exact]
model = "demo:F32"
replicas = { min = 2, per_node = 1 }
cpus = 1
options = { parallel = 12, type_k = "f32", type_v = "f32", flash_attn = "off", speculate = "off" }

[aliases.house]
arms = { exact = 1 }
"""


def scaling(type_: str, least: int, most: int) -> str:
    return f"""
[deployments.other]
model = "demo:{type_}"
replicas = {{ min = {least}, max = {most}, ongoing = 2, up_after_s = 1, down_after_s = 3, per_node = 2 }}
cpus = 0.5
options = {{ parallel = 4 }}
"""


@pytest.fixture(scope="module")
def undisturbed(cluster: LocalCluster) -> dict[str, Any]:
    """What the streams get where nothing dies."""
    cluster.deploy(EXACT)
    cluster.start_api()
    outcome = cluster.sent(*STREAMS, *LENGTH)
    assert outcome["errors"] == []
    return outcome


def test_every_name_of_a_deployment_is_a_models(cluster: LocalCluster, undisturbed: dict[str, Any]) -> None:
    assert len(cluster.status()["machines"]) == 2
    texts = {
        name: cluster.sent("--model", name, "--requests", "2", "--max-tokens", "20")["texts"]
        for name in ("exact", "house", "demo", "demo:F32")
    }
    assert all(found == texts["exact"] for found in texts.values())
    assert (
        "the cluster serves no model 'gone'"
        in cluster.sent("--model", "gone", "--requests", "1")["errors"][0]
    )


def kill_replica(cluster: LocalCluster) -> None:
    assert cluster.hosts[1].kill(["ServeReplica"])


def kill_worker(cluster: LocalCluster) -> None:
    assert cluster.hosts[1].kill(["server.worker"])


def kill_node(cluster: LocalCluster) -> None:
    cluster.hosts[1].kill(["ray"])
    cluster.hosts[1].kill(["server.worker"])


def cut_link(cluster: LocalCluster) -> None:
    cluster.hosts[1].cut()


@pytest.mark.parametrize(
    ("death", "pause_s"),
    [(kill_replica, PAUSE_S), (kill_worker, PAUSE_S), (kill_node, PAUSE_S), (cut_link, CUT_PAUSE_S)],
)
def test_no_answer_is_lost_and_none_is_another(
    cluster: LocalCluster,
    undisturbed: dict[str, Any],
    death: Callable[[LocalCluster], None],
    pause_s: float,
) -> None:
    until(lambda: cluster.running("exact") == 2, 240)
    load = cluster.load(*STREAMS, *LENGTH)
    time.sleep(float(os.environ.get("CORRAL_CLUSTER_DELAY_S", "2")))
    death(cluster)
    outcome = cluster.outcome(load)
    print(f"{death.__name__}: longest pause {outcome['pause']:.1f} s, {outcome['seconds']:.1f} s in all")
    if death in (kill_node, cut_link):
        cluster.hosts[1].mend()
        cluster.corral("cluster", "leave", host=1)
        join(cluster, 1)
    assert outcome["errors"] == []
    assert outcome["texts"] == undisturbed["texts"]
    assert outcome["pause"] <= pause_s


def test_a_version_that_does_not_load_leaves_the_old_one(cluster: LocalCluster, undisturbed: Any) -> None:
    cluster.deploy(scaling("Q4_K_M", 1, 1))
    before = cluster.sent("--model", "other", "--requests", "2", "--max-tokens", "20")
    whole = next((cluster.hosts[0].home / "models").rglob("*Q4_K_M.gguf"))
    cut = cluster.hosts[0].folder / "cut.gguf"
    cut.write_bytes(whole.read_bytes()[:100_000])
    broken = scaling("Q4_K_M", 1, 1).replace("demo:Q4_K_M", str(cut))
    told = cluster.deploy(broken, code=1)
    assert "other doesn't load: 10.77.0." in told
    assert "still serving as before: other" in told
    assert (
        cluster.sent("--model", "other", "--requests", "2", "--max-tokens", "20")["texts"] == before["texts"]
    )


def test_a_rolling_update_loses_nothing(cluster: LocalCluster, undisturbed: Any) -> None:
    load = cluster.load("--model", "other", "--requests", "150", "--max-tokens", "40", "--at-once", "4")
    cluster.deploy(scaling("Q8_0", 1, 1))
    outcome = cluster.outcome(load)
    assert outcome["errors"] == []
    assert len(outcome["texts"]) == 150


def test_replicas_come_and_go_with_the_load(cluster: LocalCluster, undisturbed: Any) -> None:
    cluster.deploy(scaling("Q8_0", 1, 2))
    deadline_s, most = time.monotonic() + 240, 1
    while most < 2 and time.monotonic() < deadline_s:
        load = cluster.load("--model", "other", "--requests", "120", "--max-tokens", "400", "--at-once", "12")
        while load.poll() is None and most < 2:
            most = cluster.running("other")
        assert cluster.outcome(load)["errors"] == []
    assert most == 2
    until(lambda: cluster.running("other") == 1, 120)


def test_prompts_that_begin_alike_go_to_the_same_replica(cluster: LocalCluster, undisturbed: Any) -> None:
    arguments = (
        "--requests",
        "96",
        "--prefixes",
        "12",
        "--words",
        "220",
        "--max-tokens",
        "4",
        "--at-once",
        "6",
    )
    outcome = cluster.sent("--model", "exact", *arguments)
    print(f"cached {outcome['cached']} of {outcome['prompt']}")
    assert outcome["errors"] == []
    assert outcome["cached"] >= 0.75 * outcome["prompt"]


def test_what_is_taken_down_is_gone(cluster: LocalCluster, undisturbed: Any) -> None:
    assert "corral cluster down house" in cluster.corral("cluster", "down", "exact").stderr
    cluster.must("cluster", "down", "other")
    assert [each["name"] for each in cluster.status()["deployments"]] == ["exact"]
    until(lambda: cluster.sent("--model", "other", "--requests", "1")["errors"] != [], 20)


def test_without_ray_an_api_process_rests_and_says_so(cluster: LocalCluster, undisturbed: Any) -> None:
    assert cluster.api is not None
    for part in ("gcs_server", "raylet"):
        assert cluster.hosts[0].kill([part])
    before_s, began_s = processor_s(cluster.api.pid), time.monotonic()
    until(lambda: "head is gone" in cluster.not_ready(), 60)
    took_s = time.monotonic() - began_s
    assert processor_s(cluster.api.pid) - before_s < 0.1 * took_s
