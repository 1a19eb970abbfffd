"""`RayCluster`: a cluster of Ray: what is deployed in it, how it does, and calls to its replicas.

It and `server.cluster.replica` alone import Ray. Tokens don't pass it: see `server.cluster.link`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import ray
from ray import serve
from ray._private.state import available_resources_per_node, total_resources_per_node
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle as RayHandle
from ray.serve.schema import LoggingConfig

from models.errors import ConfigError, CorralError, WorkerBusy, WorkerError
from server.cluster.daemon_call import daemon_call
from server.cluster.handles import Deployment, ReplicaLost, ReplyTo
from server.cluster.node import NodeRecord
from server.cluster.plan import ClusterPlan, PlannedDeployment, has_room
from server.cluster.states import NAMESPACE, DeploymentReport, report_of

DEPLOYMENT = "model"
"""The only deployment of each of Serve's applications; the application has the name that users gave."""
PLAN_KEY = "plan"
HEALTH_CHECK_S = 1.0
HEALTH_TIMEOUT_S = 5.0
CLOSE_S = 5.0
"""Ray has so long to end a connection: without the head it would try for a day."""
CONSTRUCTOR_TRIES = 2
"""A replica's start is tried so often before its version counts as one that doesn't load."""
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"

logger = logging.getLogger("corral.cluster")


class RayHandleOf:
    """A `DeploymentHandle`: the calls to one deployment's replicas."""

    def __init__(self, handle: RayHandle) -> None:
        self._run = handle.options(method_name="run")
        self._ask = handle.options(method_name="ask")
        self._info = handle.options(method_name="info")

    async def run(self, prefix_key: str, name: str, frame: bytes, reply_to: ReplyTo) -> bytes:
        handle = self._run.options(session_id=prefix_key) if prefix_key else self._run
        return await _answer(handle, name, frame, reply_to)

    async def ask(self, name: str, frame: bytes) -> bytes:
        return await _answer(self._ask, name, frame)

    async def info(self) -> bytes:
        return await _answer(self._info)


async def _answer(handle: RayHandle, *arguments: Any) -> bytes:
    """Call a replica. Cancelling this cancels it there. Raises ReplicaLost, WorkerBusy and WorkerError."""
    response = handle.remote(*arguments)
    try:
        result: bytes = await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except (RayError, RayServeException) as error:
        raise _translated(error) from error
    return result


def _translated(error: Exception) -> WorkerError:
    """Return one of Ray's errors as one of ours."""
    if isinstance(error, BackPressureError):
        return WorkerBusy("all replicas have as many requests as they take", retry_after_s=1.0)
    if isinstance(error, RayActorError | DeploymentUnavailableError | ReplicaUnavailableError):
        what = "was ended" if isinstance(error, ActorDiedError) else "can't be reached"
        return ReplicaLost(f"the replica {what}", retry_after_s=1.0)
    if isinstance(error, RayTaskError):
        logger.error("a replica met a defect: %s", error)
        return WorkerError("a replica met a defect; its log has it")
    return ReplicaLost(f"the replica can't be called: {type(error).__name__}", retry_after_s=1.0)


class RayCluster:
    """A connection to a cluster. It belongs to this process: there is one at a time. A `Cluster`."""

    def __init__(self) -> None:
        self._handles: dict[str, RayHandleOf] = {}

    @classmethod
    def connect(cls, record: NodeRecord) -> RayCluster:
        """Connect by this machine's node. Raises CorralError if the cluster doesn't answer.

        `ClusterNode.environment` has to be this process's before it imports this module.
        """
        logging.getLogger("ray").setLevel(logging.WARNING)
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
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
        return cls()

    def close(self) -> None:
        """End the connection; the cluster goes on. Without its head Ray waits for that, and this doesn't."""
        ending = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
        ending.start()
        ending.join(CLOSE_S)

    # --- what is wanted ---

    def plan(self) -> ClusterPlan:
        """Return what was deployed last."""
        return ClusterPlan.decoded(_internal_kv_get(PLAN_KEY, namespace=NAMESPACE))

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
            applications = serve.status().applications
            reports = []
            for planned in self.plan().deployments.values():
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
                        self._progress(planned.name),
                    )
                )
            return reports

    async def deployments(self) -> Sequence[Deployment]:
        planned, reports = await daemon_call(self._planned_and_reports)
        return [
            Deployment(
                name=report.name,
                model=report.model,
                state=report.state,
                handle=self._handle(report.name),
                version=planned.deployments[report.name].version,
                n_replicas=report.n_running,
                problem=report.problem,
            )
            for report in reports
            if report.name in planned.deployments and report.status != "missing"
        ]

    def _planned_and_reports(self) -> tuple[ClusterPlan, list[DeploymentReport]]:
        return self.plan(), self.reports()

    def _handle(self, name: str) -> RayHandleOf:
        if name not in self._handles:
            self._handles[name] = RayHandleOf(
                serve.get_deployment_handle(DEPLOYMENT, name, _check_exists=False)
            )
        return self._handles[name]

    def _progress(self, name: str) -> dict[str, str]:
        prefix = f"progress/{name}/"
        found: dict[str, str] = {}
        for key in _internal_kv_list(prefix, namespace=NAMESPACE):
            text = _internal_kv_get(key, namespace=NAMESPACE)
            if text:
                found[key.decode().removeprefix(prefix)] = text.decode()
        return found


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
    from server.cluster.replica import ModelReplica  # with all that a replica needs, and others don't

    config = planned.config
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
            )
        }
    if planned.per_node is not None:
        number["max_replicas_per_node"] = planned.per_node
    deployment = serve.deployment(
        name=DEPLOYMENT,
        max_ongoing_requests=planned.max_ongoing,
        logging_config=LoggingConfig(enable_access_log=False),
        ray_actor_options={"num_cpus": planned.cpus, "num_gpus": planned.gpus},
        health_check_period_s=HEALTH_CHECK_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=config.shutdown_grace_s,
        max_constructor_retry_count=CONSTRUCTOR_TRIES,
        max_surge_percent=surge,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        **number,
    )(ModelReplica)
    # Serve would give each call a version of its own, and start all replicas anew. There is no public way.
    versioned = deployment.options(version=planned.version, _internal=True)
    return versioned.bind(msgspec.json.encode(planned))
