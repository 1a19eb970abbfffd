"""What of Ray Serve's messages people are told."""

from __future__ import annotations

import pytest

from server.cluster.plan import PlannedDeployment
from server.cluster.states import DeploymentReport, reason, report_of

PLANNED = PlannedDeployment(name="a", model="demo:Q8_0", max_replicas=3, cpus=1.0)


def report(status: str | None, message: str = "", **replicas: int) -> DeploymentReport:
    return report_of(PLANNED, status, replicas, message, {})


FAILED = """The deployment failed to start 2 times in a row.
Traceback (most recent call last):
  File …
server.cluster.replica.model_replica.ReplicaFailed: 10.0.0.2: the file is no GGUF
"""
DEFECT = "Traceback:\n  File\nModuleNotFoundError: No module named 'x'\n  at end"
NO_ROOM = (
    "Deployment 'model' has 1 replicas that have taken more than 30s to be scheduled. Resources required for"
    ' each replica: {"CPU": 8.0}, total resources available: {"CPU": 2.0}. Use `ray status`.'
)
WAITS = 'a replica waits for room on a machine: it needs {"CPU": 8.0}, free in all is {"CPU": 2.0}'


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", None),
        (FAILED, "10.0.0.2: the file is no GGUF"),
        (DEFECT, "ModuleNotFoundError: No module named 'x'"),
        (NO_ROOM, WAITS),
        ("It has 1 replicas that have taken more than 30s to initialize.\nThis may be slow.", None),
    ],
)
def test_the_reason_is_one_line(message: str, told: str | None) -> None:
    assert reason(message) == told


def test_a_deployment_is_ready_while_any_replica_answers() -> None:
    assert report("DEPLOYING", RUNNING=1, STARTING=1).state == "ready"
    assert report("DEPLOY_FAILED", RUNNING=1).state == "ready"
    assert report("DEPLOY_FAILED").state == "failed"
    assert report("DEPLOYING", STARTING=1).state == "deploying"
    assert report(None).status == "missing"


def test_progress_in_words() -> None:
    assert report("DEPLOYING").line() == "a: no replica yet"
    assert (
        report("DEPLOYING", "E\nValueError: x", RUNNING=2, STARTING=1).line()
        == "a: 2 running, 1 starting; ValueError: x"
    )
    assert report("RUNNING", "old", RUNNING=2, STOPPING=0).line() == "a: 2 running"
