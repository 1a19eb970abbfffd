"""`roll_out`: brings about a plan in a cluster, tells how it goes, and goes back where it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from models.errors import CorralError
from server.cluster.plan import Changes, ClusterPlan, PlannedDeployment
from server.cluster.states import DeploymentReport

POLL_S = 0.5
"""The cluster is asked each so many seconds."""

Tell = Callable[[str], None]


class Deployer(Protocol):
    """The part of a cluster that brings about plans; `RayCluster` is one."""

    def keep(self, plan: ClusterPlan) -> None:
        """Keep what is deployed for whoever asks."""

    def deploy(self, deployments: Sequence[PlannedDeployment]) -> None:
        """Begin to bring about these deployments, and return at once."""

    def remove(self, names: Sequence[str]) -> None:
        """End deployments; return once their replicas are gone."""

    def reports(self) -> list[DeploymentReport]:
        """Return how each deployment of the kept plan does."""


def roll_out(
    cluster: Deployer, old: ClusterPlan, new: ClusterPlan, tell: Tell, wanted: Collection[str] = ()
) -> None:
    """Deploy what differs between two plans, and return once it runs. `tell` gets lines on how it goes.

    Those of `wanted` that have failed are begun anew, though nothing differs: the reason may be gone.
    Raises CorralError with the reasons if a new version doesn't load; what has failed is then as it was in
    `old`, all else as in `new`. If it is interrupted, the cluster goes on by itself.
    """
    if stuck := [name for name in _failed(cluster) if name in wanted]:
        tell(f"failed before, and begun anew: {', '.join(stuck)}")
        cluster.remove(stuck)
        rest = {name: each for name, each in old.deployments.items() if name not in stuck}
        old = ClusterPlan(rest, old.aliases)
    changes = Changes.between(old, new)
    for word, names in (("new", changes.added), ("replaced", changes.replaced), ("scaled", changes.scaled)):
        if names:
            tell(f"{word}: {', '.join(names)}")
    cluster.deploy([new.deployments[name] for name in changes.deployed])
    cluster.keep(new)
    if not changes.deployed:
        tell("everything is deployed as it is to be")
        return
    if failed := _wait(cluster, changes.deployed, tell):
        _go_back(cluster, old, new, failed)


def _wait(cluster: Deployer, names: Sequence[str], tell: Tell) -> dict[str, DeploymentReport]:
    """Return the reports of those that have failed once none of `names` is on its way; tell changes."""
    lines: dict[str, str] = {}
    while True:
        reports = {report.name: report for report in cluster.reports() if report.name in names}
        for name, report in reports.items():
            if lines.get(name) != (line := report.line()):
                tell(line)
                lines[name] = line
        if all(report.status in ("running", "failed") for report in reports.values()):
            return {name: report for name, report in reports.items() if report.status == "failed"}
        time.sleep(POLL_S)


def _failed(cluster: Deployer) -> list[str]:
    """Return what the kept plan has and no replica serves, as none could be started."""
    return [each.name for each in cluster.reports() if each.status == "failed" and not each.n_running]


def _go_back(
    cluster: Deployer, old: ClusterPlan, new: ClusterPlan, failed: Mapping[str, DeploymentReport]
) -> None:
    """Deploy what was there before in the place of what has failed, and raise the reasons."""
    before = {name: old.deployments[name] for name in failed if name in old.deployments}
    there = {name: each for name, each in new.deployments.items() if name not in failed} | before
    aliases = {name: alias for name, alias in new.aliases.items() if all(arm in there for arm in alias.arms)}
    cluster.deploy([*before.values()])
    cluster.remove([name for name in failed if name not in before])
    cluster.keep(ClusterPlan(there, aliases))
    reasons = "; ".join(f"{name} doesn't load: {report.problem}" for name, report in failed.items())
    rest = f"still serving as before: {', '.join(before)}" if before else "nothing of it was deployed before"
    raise CorralError(f"{reasons}; {rest}")
