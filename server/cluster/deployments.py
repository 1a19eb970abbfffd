"""The contract between `Fleet`, replicas and what places these: deployments, addresses of links.

Types only. What places replicas (Ray Serve, or a test) starts and ends them, tells what is deployed, and
keeps the addresses at which API processes listen. Requests and tokens don't pass it: each replica connects to
each API process, and all of that goes over these links (`server.cluster.link.link_messages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from models.errors import WorkerDied

DeploymentState = Literal["deploying", "ready", "failed"]

TOKEN_BYTES = 16


class ReplicaLost(WorkerDied):
    """A replica has gone with the request in it: its process, its node, or the way to it."""


class LinkAddress(msgspec.Struct, frozen=True, array_like=True):
    """The place at which an API process waits for replicas."""

    host: str
    port: int
    secret: bytes
    """Twice `TOKEN_BYTES`, known to those alone who may read what the cluster keeps."""

    @property
    def token(self) -> bytes:
        """Whoever connects has to send this first."""
        return self.secret[:TOKEN_BYTES]

    @property
    def proof(self) -> bytes:
        """Whoever listens has to send this then."""
        return self.secret[TOKEN_BYTES:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One served model file, and what is known of its replicas now."""

    name: str
    """The name that it was deployed by; requests may have it for a model's name."""
    model: str
    """The model that it serves, as clients name it: `org/name` or `org/name:TYPE`."""
    state: DeploymentState
    """`ready` if a replica answers, also while others are started or replaced."""
    version: str = ""
    """It changes with what is deployed by that name; replicas tell theirs with what they serve."""
    n_replicas: int = 0
    """The number of replicas that answer."""
    problem: str | None = None
    """The reason for its failure, in one line."""


class Cluster(Protocol):
    """Knows what is deployed, and where API processes wait for replicas.

    Its methods raise WorkerError, ConnectionError or TimeoutError where nobody can tell: what was last told
    is true until then.
    """

    async def deployments(self) -> Sequence[Deployment]:
        """Return all deployments in a stable order, and their states now."""

    async def announce(self, address: LinkAddress, n_renewals: int) -> None:
        """Keep an address where replicas look; again before it gets stale, with a higher number."""

    async def withdraw(self, address: LinkAddress) -> None:
        """Take an address away."""
