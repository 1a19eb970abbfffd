"""`ModelReplica`: the class of a deployment's replicas for Ray Serve, a shell around `ReplicaService`.

Ray runs it in a thread of its own with an event loop; nothing here may set a signal's handler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_put

from models.errors import CorralError
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from server.cluster.handles import ReplyTo
from server.cluster.model_file import obtain
from server.cluster.plan import PlannedDeployment
from server.cluster.replica_service import ReplicaService
from server.cluster.states import NAMESPACE
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
        try:
            config = deployment.config
            store = ModelStore(Paths.from_environment())
            tell = _teller(deployment.name)
            entry = await obtain(ModelRef.parse(deployment.model), store, self._jobs, tell)
            draft = None
            if config.draft is not None:
                draft = await obtain(_typed(config.draft, config.default_type), store, self._jobs, tell)
            supervisor = supervisor_of(config, store, [entry], draft, has_others=False)
            self._service = ReplicaService(supervisor, deployment.version)
            await self._service.start()
        except CorralError as error:
            logger.exception("the replica of %s can't serve", deployment.name)
            raise ReplicaFailed(f"{ray.util.get_node_ip_address()}: {error.message}") from None

    async def run(self, name: str, frame: bytes, reply_to: ReplyTo) -> bytes:
        """Do `ReplicaService.run`: Serve counts, bounds and drains requests by this call."""
        return await self._service.run(name, frame, reply_to)

    async def ask(self, name: str, frame: bytes) -> bytes:
        """Do `ReplicaService.ask`."""
        return await self._service.ask(name, frame)

    async def info(self) -> bytes:
        """Do `ReplicaService.info`."""
        return await self._service.info()

    async def check_health(self) -> None:
        """Raise if this replica won't serve again by itself: Serve then starts another in its place."""
        self._service.check_health()

    async def __del__(self) -> None:
        """End the worker; Serve calls this once no request runs, or its time-out has passed."""
        await self._jobs.stop()
        if hasattr(self, "_service"):
            await self._service.stop(0.0)


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
