"""`DeploymentReport`: how a deployment does, as `corral cluster status` tells it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from server.cluster.deployments import DeploymentState
from server.cluster.plan import PlannedDeployment

NAMESPACE = "corral"
"""The namespace of all that Corral keeps in the cluster's own store of keys."""
API_PREFIX = "api/"
"""The addresses of API processes stand below this there."""
FAILURE_MARK = "ReplicaFailed: "
"""The reason why a replica doesn't start stands behind this, in whatever Ray makes of it."""

AppStatus = Literal["missing", "deploying", "running", "failed", "deleting"]

_APP_STATUSES: Mapping[str, AppStatus] = {
    "NOT_STARTED": "missing",
    "DEPLOYING": "deploying",
    "DEPLOY_FAILED": "failed",
    "RUNNING": "running",
    "UNHEALTHY": "deploying",
    "DELETING": "deleting",
}
_WAITING = re.compile(r"Resources required for each replica: (\{.*?\}), total resources available: (\{.*?\})")


_SLOW = "that have taken more than"
"""Serve remarks so that a replica takes longer than half a minute, as models may."""


class DeploymentReport(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment's plan, and what there is of it."""

    name: str
    model: str
    status: AppStatus
    replicas: dict[str, int] = {}
    """The numbers of replicas by their states, such as `running`, `starting` and `stopping`."""
    wanted: str = ""
    """The number of replicas that there are to be."""
    cpus: float = 0.0
    gpus: float = 0.0
    problem: str | None = None
    """The reason why it fails, or what it waits for, in one line."""
    progress: dict[str, str] = {}
    """The work of its replicas before they can load the model, by their machines' addresses."""

    @property
    def n_running(self) -> int:
        """The number of replicas that answer."""
        return self.replicas.get("running", 0)

    @property
    def state(self) -> DeploymentState:
        """The state as the API processes see it."""
        if self.n_running:
            return "ready"
        return "failed" if self.status == "failed" else "deploying"

    def line(self) -> str:
        """Return its state in words, as progress is told."""
        counts = [f"{count} {state}" for state, count in sorted(self.replicas.items()) if count]
        parts = [", ".join(counts) or "no replica yet", *self.progress.values()]
        if self.problem and self.status != "running":
            parts.append(self.problem)
        return f"{self.name}: {'; '.join(parts)}"


def report_of(
    planned: PlannedDeployment,
    app_status: str | None,
    replicas: Mapping[str, int],
    message: str,
    progress: Mapping[str, str],
) -> DeploymentReport:
    """Return the report of what Ray Serve tells of a deployment; None: it knows nothing of it."""
    return DeploymentReport(
        name=planned.name,
        model=planned.served_name,
        status="missing" if app_status is None else _APP_STATUSES.get(app_status, "deploying"),
        replicas={state.lower(): count for state, count in replicas.items()},
        wanted=planned.scaling(),
        cpus=planned.cpus,
        gpus=planned.gpus,
        problem=reason(message),
        progress=dict(progress),
    )


def reason(message: str) -> str | None:
    """Return the reason in a message of Ray Serve, which may have tracebacks, in one line; None for none."""
    if FAILURE_MARK in message:
        return message.rsplit(FAILURE_MARK, 1)[1].splitlines()[0].strip()
    if (waiting := _WAITING.search(message)) is not None:
        return f"a replica waits for room on a machine: it needs {waiting[1]}, free in all is {waiting[2]}"
    if _SLOW in message:
        return None
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return None
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (errors or lines)[-1][:500]
