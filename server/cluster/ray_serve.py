"""`RayCluster`: a cluster of Ray: what is deployed in it, how it does, and what it keeps for all.

It and `server.cluster.replica.model_replica` alone import Ray. Requests and tokens don't pass it: see
`server.cluster.link.link_messages`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

import msgspec
import ray
from ray import serve
from ray._private.state import available_resources_per_node, total_resources_per_node
from ray._private.worker import global_worker
from ray.exceptions import GetTimeoutError, RayError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.exceptions import RayServeException
from ray.serve.schema import LoggingConfig

from models.errors import ConfigError, CorralError, WorkerError
from server.cluster.daemon_call import daemon_call
from server.cluster.deployments import Deployment, LinkAddress
from server.cluster.link.announcements import encoded, key_of
from server.cluster.node import NodeRecord
from server.cluster.plan import ClusterPlan, PlannedDeployment, has_room
from server.cluster.states import API_PREFIX, NAMESPACE, DeploymentReport, report_of

DEPLOYMENT = "model"
"""The only deployment of each of Serve's applications; the application has the name that users gave."""
PLAN_KEY = "plan"
HEALTH_CHECK_S = 1.0
HEALTH_TIMEOUT_S = 5.0
CLOSE_S = 5.0
"""Ray has so long to end a connection: without the head it would try for a day."""
CONSTRUCTOR_TRIES = 2
"""A replica's start is tried so often before its version counts as one that doesn't load."""
POLICY = "server.cluster.replica.scaling:replicas_for_load"
WAIT_LOOP_S = 0.1
"""Serve looks so often whether a replica that is to end has calls of its own; it has none."""
STATES_S = 15.0
"""Serve's answer costs its reader 10 ms of processor time: it is asked so seldom while no state changes, of
which the links of replicas tell sooner."""
END_S = 10.0
"""Beyond its requests' time a replica has so long to end its worker before Serve kills it."""


class RayCluster:
    """A connection to a cluster. It belongs to this process: there is one at a time. A `Cluster`."""

    def __init__(self) -> None:
        self._plan_then = b""
        self._deployments: tuple[Deployment, ...] = ()
        self._ask_at_s = 0.0
        """Serve is asked anew from this time on; before it only if the plan has changed."""

    @classmethod
    def connect(cls, record: NodeRecord) -> RayCluster:
        """Connect by this machine's node. Raises CorralError if the cluster doesn't answer.

        `ClusterNode.environment` has to be this process's before it imports this module.
        """
        logging.getLogger("ray").setLevel(logging.WARNING)
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        logging.setLogRecordFactory(logging.LogRecord)  # Ray's costs each line of the access log a tenth more
        try:
            ray.init(
                address=record.address,
                namespace=NAMESPACE,
                _node_ip_address=record.node_ip,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (RayError, ConnectionError, RuntimeError, TimeoutError) as error:
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CorralError(
                f"the cluster at {record.address} doesn't answer ({line}); check its head, or leave and join"
                " again: corral cluster leave"
            ) from error
        _end_listener()
        return cls()

    def close(self) -> None:
        """End the connection; the cluster goes on. Without its head Ray waits for that, and this doesn't."""
        ending = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
        ending.start()
        ending.join(CLOSE_S)

    # --- what is wanted ---

    def plan(self) -> ClusterPlan:
        """Return what was deployed last. Raises WorkerError or TimeoutError if nobody can tell."""
        return ClusterPlan.decoded(_kept(PLAN_KEY))

    def latest_plan(self) -> ClusterPlan:
        """Return the plan as `deployments` found it last, without asking. Raises WorkerError before that."""
        if not self._ask_at_s:
            raise WorkerError("the cluster hasn't told yet what is deployed")
        return ClusterPlan.decoded(self._plan_then)

    def keep(self, plan: ClusterPlan) -> None:
        """Keep what is deployed for whoever asks."""
        _internal_kv_put(PLAN_KEY, plan.encoded(), namespace=NAMESPACE)

    def deploy(self, deployments: Sequence[PlannedDeployment]) -> None:
        """Have Ray Serve begin to bring about these deployments, and return at once.

        Where a machine has room for one replica more, each new one runs before an old one ends.
        Raises ConfigError if no machine is large enough.
        """
        total, free = total_resources_per_node(), available_resources_per_node()
        targets = []
        for each in deployments:
            if not has_room(each.cpus, each.gpus, total):
                raise ConfigError(
                    f"no machine of the cluster has {each.cpus:g} CPUs and {each.gpus:g} GPUs, which a"
                    f" replica of {each.name} is to have; give it fewer"
                )
            surge = 1 if has_room(each.cpus, each.gpus, free) else 0
            targets.append(serve.RunTarget(_application(each, surge), name=each.name, route_prefix=None))
        if targets:
            serve.start(proxy_location="Disabled")
            serve.run_many(
                targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
            )

    def remove(self, names: Sequence[str]) -> None:
        """End deployments; return once their replicas are gone."""
        for name in names:
            serve.delete(name, _blocking=True)
            for key in _internal_kv_list(f"progress/{name}/", namespace=NAMESPACE):
                _internal_kv_del(key, namespace=NAMESPACE)

    def end_serve(self) -> None:
        """End all deployments, and Ray Serve itself."""
        serve.shutdown()
        _internal_kv_del(PLAN_KEY, namespace=NAMESPACE)

    # --- what there is ---

    def machines(self) -> list[dict[str, Any]]:
        """Return each machine's address, and its CPUs and GPUs: all and free."""
        total, free = total_resources_per_node(), available_resources_per_node()
        return [
            {
                "address": node["NodeManagerAddress"],
                "head": "node:__internal_head__" in node.get("Resources", {}),
                "cpus": total.get(node["NodeID"], {}).get("CPU", 0.0),
                "free_cpus": free.get(node["NodeID"], {}).get("CPU", 0.0),
                "gpus": total.get(node["NodeID"], {}).get("GPU", 0.0),
                "free_gpus": free.get(node["NodeID"], {}).get("GPU", 0.0),
            }
            for node in ray.nodes()
            if node["Alive"]
        ]

    def reports(self) -> list[DeploymentReport]:
        """Return how each deployment of the plan does."""
        with _as_ours():
            return self._reports(self.plan(), self._progress)

    def _reports(
        self, plan: ClusterPlan, progress: Callable[[str], dict[str, str]]
    ) -> list[DeploymentReport]:
        """Return how the deployments of a plan do; `progress` tells what replicas do before they load."""
        applications = serve.status().applications
        reports = []
        for planned in plan.deployments.values():
            app = applications.get(planned.name)
            inner = None if app is None else app.deployments.get(DEPLOYMENT)
            message = (inner.message if inner is not None else "") or (app.message if app else "")
            states = {} if inner is None else inner.replica_states
            reports.append(
                report_of(
                    planned,
                    None if app is None else str(app.status.value),
                    {str(getattr(state, "value", state)): count for state, count in states.items()},
                    message,
                    progress(planned.name),
                )
            )
        return reports

    async def deployments(self) -> Sequence[Deployment]:
        return await daemon_call(self._known_deployments)

    def _known_deployments(self) -> tuple[Deployment, ...]:
        """Return what the plan has, with states that may be a few seconds old if none was changing then."""
        data, now_s = _kept(PLAN_KEY), monotonic()
        if data == self._plan_then and now_s < self._ask_at_s:
            return self._deployments
        planned = ClusterPlan.decoded(data)
        with _as_ours():
            reports = self._reports(planned, lambda _: {})
        is_settled = all(report.status in ("running", "failed") for report in reports)
        self._plan_then, self._ask_at_s = data, now_s + (STATES_S if is_settled else 0.0)
        self._deployments = tuple(
            Deployment(
                name=report.name,
                model=report.model,
                state=report.state,
                version=planned.deployments[report.name].version,
                n_replicas=report.n_running,
                problem=report.problem,
            )
            for report in reports
            if report.status != "missing"
        )
        return self._deployments

    async def announce(self, address: LinkAddress, n_renewals: int) -> None:
        await daemon_call(partial(_put, API_PREFIX + key_of(address), encoded(address, n_renewals)))

    async def withdraw(self, address: LinkAddress) -> None:
        await daemon_call(partial(_delete, API_PREFIX + key_of(address)))

    def _progress(self, name: str) -> dict[str, str]:
        prefix = f"progress/{name}/"
        found: dict[str, str] = {}
        for key in _internal_kv_list(prefix, namespace=NAMESPACE):
            text = _internal_kv_get(key, namespace=NAMESPACE)
            if text:
                found[key.decode().removeprefix(prefix)] = text.decode()
        return found


def _end_listener() -> None:
    """End the thread in which Ray would print its autoscaler's errors: there is none.

    It would ask for them without a pause once the head is gone, for most of a core. There is no public way.
    """
    global_worker.threads_stopped.set()
    global_worker.gcs_error_subscriber.close()


def _kept(key: str) -> bytes:
    """Return what the cluster keeps under a key, nothing if that is nothing."""
    with _as_ours():
        return _internal_kv_get(key, namespace=NAMESPACE) or b""


def _put(key: str, value: bytes) -> None:
    with _as_ours():
        _internal_kv_put(key, value, namespace=NAMESPACE)


def _delete(key: str) -> None:
    with _as_ours():
        _internal_kv_del(key, namespace=NAMESPACE)


@contextmanager
def _as_ours() -> Iterator[None]:
    """Raise WorkerError where Ray's own parts don't answer."""
    try:
        yield
    except GetTimeoutError as error:
        raise TimeoutError(str(error)) from error
    except (RayError, RayServeException) as error:
        raise WorkerError(f"Ray Serve doesn't answer: {str(error).splitlines()[0]}") from error


def _application(planned: PlannedDeployment, surge: int) -> serve.Application:
    """Return what Ray Serve is to run for a deployment."""
    from server.cluster.replica.model_replica import (
        ModelReplica,  # with all that a replica needs, and others don't
    )

    if planned.min_replicas == planned.max_replicas:
        number: dict[str, Any] = {"num_replicas": planned.min_replicas}
    else:
        number = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=planned.min_replicas,
                max_replicas=planned.max_replicas,
                target_ongoing_requests=planned.target_ongoing,
                upscale_delay_s=planned.up_after_s,
                downscale_delay_s=planned.down_after_s,
                metrics_interval_s=1.0,
                look_back_period_s=3.0,
                policy=AutoscalingPolicy(policy_function=POLICY),
            )
        }
    if planned.per_node is not None:
        number["max_replicas_per_node"] = planned.per_node
    deployment = serve.deployment(
        name=DEPLOYMENT,
        logging_config=LoggingConfig(enable_access_log=False),
        ray_actor_options={"num_cpus": planned.cpus, "num_gpus": planned.gpus},
        health_check_period_s=HEALTH_CHECK_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=WAIT_LOOP_S,
        graceful_shutdown_timeout_s=planned.config.shutdown_grace_s + END_S,
        max_constructor_retry_count=CONSTRUCTOR_TRIES,
        max_surge_percent=surge,
        **number,
    )(ModelReplica)
    # Serve would give each call a version of its own, and start all replicas anew. There is no public way.
    versioned = deployment.options(version=planned.version, _internal=True)
    return versioned.bind(msgspec.json.encode(planned))
