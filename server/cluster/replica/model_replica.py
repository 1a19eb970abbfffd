"""`ModelReplica`: the class of a deployment's replicas for Ray Serve, a shell around `ReplicaService`.

Ray runs it in a thread of its own with an event loop; nothing here may set a signal's handler.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from models.errors import CorralError, WorkerError
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from server.cluster.deployments import LinkAddress
from server.cluster.link.announcements import Announcements
from server.cluster.plan import PlannedDeployment
from server.cluster.replica.model_file import obtain
from server.cluster.replica.replica_service import ReplicaService
from server.cluster.replica.scaling import LOAD
from server.cluster.states import API_PREFIX, NAMESPACE
from server.jobs.table import JobTable
from server.local_models import supervisor_of

logger = logging.getLogger("corral.cluster")


class ReplicaFailed(Exception):
    """A replica can't serve; Ray Serve shows the message."""


class ModelReplica:
    """One replica: a supervisor with one served model, and the way to it."""

    async def __init__(self, planned: bytes) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        """Obtain the model and load it. Raises ReplicaFailed."""
        logging.getLogger("corral").setLevel(logging.INFO)
        deployment = msgspec.json.decode(planned, type=PlannedDeployment)
        self._jobs = JobTable()
        self._grace_s = deployment.config.shutdown_grace_s
        try:
            config = deployment.config
            store = ModelStore(Paths.from_environment())
            tell = _teller(deployment.name)
            entry = await obtain(ModelRef.parse(deployment.model), store, self._jobs, tell)
            draft = None
            if config.draft is not None:
                draft = await obtain(_typed(config.draft, config.default_type), store, self._jobs, tell)
            supervisor = supervisor_of(config, store, [entry], draft, has_others=False)
            self._service = ReplicaService(
                supervisor,
                deployment=deployment.name,
                max_ongoing=deployment.max_ongoing,
                version=deployment.version,
            )
            await self._service.start(ApiProcesses().addresses)
        except CorralError as error:
            logger.exception("the replica of %s can't serve", deployment.name)
            raise ReplicaFailed(f"{ray.util.get_node_ip_address()}: {error.message}") from None

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what scaling goes by; Serve asks for it."""
        return {LOAD: float(self._service.load)}

    async def check_health(self) -> None:
        """Raise if this replica won't serve again by itself: Serve then starts another in its place."""
        self._service.check_health()

    async def __del__(self) -> None:
        """Let requests finish, and end the worker: Serve awaits this when it ends a replica."""
        await self._jobs.stop()
        if hasattr(self, "_service"):
            await self._service.stop(self._grace_s)


class ApiProcesses:
    """The API processes that live, as the cluster keeps them."""

    def __init__(self) -> None:
        self._announcements = Announcements()

    async def addresses(self) -> list[LinkAddress]:
        """Return where they wait for replicas. Raises WorkerError or TimeoutError if nobody can tell."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[LinkAddress]:
        try:
            found = {key.decode(): _internal_kv_get(key, namespace=NAMESPACE) for key in self._keys()}
            now_s = time.monotonic()
            live = self._announcements.live({key: data for key, data in found.items() if data}, now_s)
            for key in self._announcements.stale(now_s):
                _internal_kv_del(key, namespace=NAMESPACE)
        except GetTimeoutError as error:
            raise TimeoutError(str(error)) from error
        except RayError as error:
            raise WorkerError(f"the head doesn't answer: {error}") from error
        return live

    def _keys(self) -> list[bytes]:
        keys: list[bytes] = _internal_kv_list(API_PREFIX, namespace=NAMESPACE)
        return keys


def _teller(deployment: str) -> Callable[[str], None]:
    """Return what keeps this machine's progress where `corral cluster status` finds it; "" takes it away."""
    key = f"progress/{deployment}/{ray.util.get_node_ip_address()}"

    def tell(text: str) -> None:
        if text:
            _internal_kv_put(key, text, namespace=NAMESPACE)
        else:
            _internal_kv_del(key, namespace=NAMESPACE)

    return tell


def _typed(text: str, default_type: str) -> ModelRef:
    ref = ModelRef.parse(text)
    if ref.type is None and not (ref.path is not None and ref.path.is_file()):
        return ref.with_type(default_type)
    return ref
