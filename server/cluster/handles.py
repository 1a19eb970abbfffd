"""The contract between `Fleet` and what places its replicas: deployments, their handles, addresses.

Types only: `server.cluster.fleet` knows deployments by these alone, `server.cluster.replica_service` is what
a replica does with a call, and what carries the calls (Ray Serve, or a test) stands in between. All that it
carries is bytes, text and `ReplyTo`; the bytes are msgpack of structs of `server.ipc` and of this module.

A call carries a request, and its tokens come back over a socket (`server.cluster.link`): so the tokens don't
pass what places the replicas, and the end of the call is the end of the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from models.errors import WorkerDied
from server.supervisor.protocol import ModelStatus

DeploymentState = Literal["deploying", "ready", "failed"]


class ReplicaLost(WorkerDied):
    """A replica has gone with the request in it: its process, its node, or the way to it."""


class ReplyTo(msgspec.Struct, frozen=True, array_like=True):
    """The place at which an API process wants the events of its requests."""

    host: str
    port: int
    token: bytes
    """Whoever connects has to send this first."""


class ReplicaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A replica's facts, once its model is loaded."""

    statuses: list[ModelStatus]
    """The names that it serves; the first is its model's."""
    version: str = ""
    """Its deployment's version when it was started."""


class DeploymentHandle(Protocol):
    """Calls to the replicas of one deployment: each goes to one of them.

    Every method raises `ReplicaLost` if the replica, its node or all of them have gone, and `WorkerBusy` if
    no replica takes the call now. Cancelling one cancels it in the replica.
    """

    async def run(self, prefix_key: str, name: str, frame: bytes, reply_to: ReplyTo) -> bytes:
        """Have `ReplicaService.run(name, frame, reply_to)` done, and return what it returned.

        `name` is one of the replica's own names, empty for its model. Calls with the same `prefix_key` go to
        the same replica as long as it takes them: it may hold the beginning of the prompt. With an empty one,
        any will do.
        """

    async def ask(self, name: str, frame: bytes) -> bytes:
        """Have `ReplicaService.ask(name, frame)` done by any replica, and return what it returned."""

    async def info(self) -> bytes:
        """Have `ReplicaService.info()` done by any replica, and return what it returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One served model file, and what is known of its replicas now."""

    name: str
    """The name that it was deployed by; requests may have it for a model's name."""
    model: str
    """The model that it serves, as clients name it: `org/name` or `org/name:TYPE`."""
    state: DeploymentState
    """`ready` if a replica answers, also while others are started or replaced."""
    handle: DeploymentHandle
    """The calls to its replicas; the same object as long as it is the same deployment."""
    version: str = ""
    """It changes with what is deployed by that name; replicas tell theirs with what they serve."""
    n_replicas: int = 0
    """The number of replicas that answer."""
    problem: str | None = None
    """The reason for its failure, in one line."""


class Cluster(Protocol):
    """Knows what is deployed."""

    async def deployments(self) -> Sequence[Deployment]:
        """Return all deployments in a stable order, and their states now.

        Raises WorkerError, ConnectionError or TimeoutError where nobody can tell: what was last told is true
        until then.
        """
