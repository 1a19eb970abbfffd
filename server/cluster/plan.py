"""`ClusterPlan`: the deployments and aliases of a cluster, and the changes between two plans. Pure.

A plan is what a cluster is to have, not what it has; `server.cluster.plan_file` reads one from TOML. It is
kept in the cluster as JSON, so that whoever deploys next knows what runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from models.errors import ConfigError
from models.reference import ModelRef
from models.version import VERSION
from server.config import ServerConfig

QUEUE_SHARE = 0.5
"""Beyond those that it computes, a replica takes this share of them as its queue."""
LEAST_QUEUE = 2
"""A replica's queue has room for at least so many requests."""
ONGOING_SHARE = 0.75
"""Scaling aims at this share of the requests that a replica computes at the same time."""


class PlannedDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """One model with its settings, and how many replicas of it there are to be."""

    name: str
    model: str
    """The model's reference, with its type unless it is a file."""
    min_replicas: int = 1
    max_replicas: int = 1
    ongoing: float | None = None
    """The requests per replica that scaling aims at; None: a share of what a replica computes at once."""
    per_node: int | None = None
    """At most so many replicas run on one machine; None: as many as its CPUs and GPUs allow."""
    up_after_s: float = 5.0
    """A replica more is started after so many seconds of more requests."""
    down_after_s: float = 60.0
    """One is ended after so many seconds of fewer."""
    cpus: float
    """A replica's share of a machine's CPUs, which is its number of threads, too."""
    gpus: float = 0.0
    options: dict[str, Any] = {}
    """Settings of the served model by their names, those that aren't the defaults."""

    @property
    def version(self) -> str:
        """A digest of all for which a replica has to be started anew; its number of replicas isn't."""
        parts = (VERSION, self.model, self.cpus, self.gpus, self.options)
        encoded = msgspec.json.encode(parts, order="deterministic")
        return hashlib.blake2b(encoded, digest_size=10).hexdigest()

    @property
    def config(self) -> ServerConfig:
        """The settings of its replicas' model: `options`, and as many threads as CPUs."""
        return ServerConfig.model_validate({"threads": max(1, int(self.cpus)), **self.options})

    @property
    def target_ongoing(self) -> float:
        """The requests per replica that scaling aims at."""
        return self.ongoing or self.config.parallel * ONGOING_SHARE

    @property
    def max_ongoing(self) -> int:
        """A replica takes at most so many requests: those that it computes, and a short queue."""
        parallel = self.config.parallel
        return parallel + max(LEAST_QUEUE, int(parallel * QUEUE_SHARE))

    @property
    def served_name(self) -> str:
        """The model's name for clients: `org/name:TYPE`, or the name alone of a file."""
        ref = ModelRef.parse(self.model)
        return f"{ref.name}:{ref.type}" if ref.type else ref.name

    def scaling(self) -> str:
        """Return the number of replicas in words."""
        if self.min_replicas == self.max_replicas:
            return str(self.min_replicas)
        return f"{self.min_replicas} to {self.max_replicas}"


class PlannedAlias(msgspec.Struct, frozen=True, kw_only=True):
    """One name for several deployments, each with a share of its requests."""

    name: str
    arms: dict[str, float]
    """The deployments' names and their weights."""
    sticky: bool = True
    """True: the same user gets the same arm."""


class ClusterPlan(msgspec.Struct, frozen=True):
    """All deployments and aliases, by their names."""

    deployments: dict[str, PlannedDeployment] = {}
    aliases: dict[str, PlannedAlias] = {}

    def with_all_of(self, other: ClusterPlan) -> ClusterPlan:
        """Return a plan with all of `other`, and what has other names of this one. Raises ConfigError."""
        merged = ClusterPlan(self.deployments | other.deployments, self.aliases | other.aliases)
        merged.check()
        return merged

    def without(self, name: str) -> ClusterPlan:
        """Return a plan without the deployment or alias of that name. Raises ConfigError."""
        if name in self.aliases:
            return ClusterPlan(self.deployments, {k: v for k, v in self.aliases.items() if k != name})
        if name not in self.deployments:
            known = ", ".join((*self.deployments, *self.aliases)) or "none"
            raise ConfigError(f"there is no deployment '{name}' in the cluster; there are: {known}")
        rest = ClusterPlan({k: v for k, v in self.deployments.items() if k != name}, self.aliases)
        rest.check()
        return rest

    def check(self) -> None:
        """Raise ConfigError for an alias of what isn't deployed, or one named as a deployment is."""
        for alias in self.aliases.values():
            if alias.name in self.deployments:
                raise ConfigError(f"'{alias.name}' is an alias and a deployment; give one another name")
            for arm in alias.arms:
                if arm not in self.deployments:
                    known = ", ".join(self.deployments) or "none"
                    raise ConfigError(
                        f"the alias '{alias.name}' has the arm '{arm}', which isn't deployed; there are:"
                        f" {known}; deploy the alias without it, or take it away first: corral cluster down"
                        f" {alias.name}"
                    )

    def presets(self) -> dict[str, Any]:
        """Return the aliases as the section `presets` of a settings file has them."""
        return {
            alias.name: {
                "arms": [{"name": arm, "model": arm, "weight": weight} for arm, weight in alias.arms.items()],
                "sticky": alias.sticky,
            }
            for alias in self.aliases.values()
        }

    def encoded(self) -> bytes:
        """Return the plan as the cluster keeps it."""
        return msgspec.json.encode(self)

    @classmethod
    def decoded(cls, data: bytes | None) -> ClusterPlan:
        """Return the plan that `encoded` wrote; an empty one for None. Raises ConfigError."""
        if not data:
            return cls()
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise ConfigError(
                f"the cluster's plan can't be read ({error}): another version of Corral wrote it; use the"
                " same one on all machines"
            ) from error


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between two plans, as deployments' names."""

    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Those whose replicas are started anew, one after the other."""
    scaled: tuple[str, ...] = ()
    """Those of which only the number of replicas, or what that depends on, is another."""
    removed: tuple[str, ...] = ()

    @classmethod
    def between(cls, old: ClusterPlan, new: ClusterPlan) -> Changes:
        """Return what there is to do where `old` runs and `new` is wanted."""
        both = [name for name in new.deployments if name in old.deployments]
        replaced = [name for name in both if old.deployments[name].version != new.deployments[name].version]
        scaled = [
            name for name in both if name not in replaced and old.deployments[name] != new.deployments[name]
        ]
        return cls(
            added=tuple(name for name in new.deployments if name not in old.deployments),
            replaced=tuple(replaced),
            scaled=tuple(scaled),
            removed=tuple(name for name in old.deployments if name not in new.deployments),
        )

    @property
    def deployed(self) -> tuple[str, ...]:
        """All that are to be deployed, again or for the first time."""
        return (*self.added, *self.replaced, *self.scaled)


def has_room(cpus: float, gpus: float, free: Mapping[str, Mapping[str, float]]) -> bool:
    """True if some machine has so much of both free; `free` has each machine's resources by Ray's names."""
    return any(each.get("CPU", 0.0) >= cpus and each.get("GPU", 0.0) >= gpus for each in free.values())
