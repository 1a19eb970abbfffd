"""`Fleet`: the models of a cluster, as a `ModelService`.

A name is looked up among what is deployed, and the request goes to a replica of that deployment over the
link that the replica has made to this API process; so do its events. An answer whose replica dies goes on in
another one. An API process keeps nothing that another one would need: there may be any number of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from models.errors import CorralError, ModelLoadError, NotServed, WorkerBusy, WorkerDied, WorkerError
from server.cluster.deployments import Cluster, Deployment, ReplicaLost
from server.cluster.link.announcements import RENEW_S
from server.cluster.peers.link_listener import LinkListener
from server.cluster.peers.peer import Peer
from server.cluster.peers.replica_run import ReplicaRun
from server.cluster.peers.run_table import Destination, RunTable
from server.cluster.served_names import ServedModel, ServedNames
from server.cluster.sums import sum_of_stats
from server.ipc.messages import ChangeSlot, Pool, Question, Slots, SlotsReply, Stats, StatsReply, Work
from server.metrics.figures import FigureBook
from server.metrics.origin import current_origin
from server.metrics.request_meter import RequestMeter
from server.metrics.samples import WorkerSample
from server.requests.prefix_key import prefix_key
from server.supervisor.protocol import ModelStatus
from server.supervisor.request_handle import RequestHandle

if TYPE_CHECKING:
    from server.config import ServerConfig

logger = logging.getLogger("corral.cluster")

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """The fleet's patience, times in seconds."""

    load_wait_s: float = 600.0
    """A request waits this long for a replica that takes it."""
    max_waiting: int = 256
    """So many requests may wait for the replicas of one deployment."""
    poll_s: float = 1.0
    """The cluster is asked what is deployed at this interval."""
    deaf_after_s: float = 30.0
    """A cluster that hasn't answered for so long makes this API process unready; what runs goes on."""
    silent_ticks: int = 5
    """A replica that says nothing for so many seconds is lost."""
    meet_s: float = 5.0
    """At its start this API process waits so long for the replicas that there are."""
    leave_s: float = 2.0
    """At its end this API process waits so long for the cluster to forget it."""
    max_replicas: int = 3
    """So many replicas may have one request, one after the other: the request may be the reason."""

    @classmethod
    def of(cls, config: ServerConfig) -> Self:
        """Return the patience that the settings choose; the rest stays at its defaults."""
        return cls(load_wait_s=config.load_wait_s, max_waiting=config.queue_size + config.parallel)


DEFAULT_POLICY = FleetPolicy()


class Fleet:
    """A `ModelService`. Everything happens on the event loop that calls `start`.

    `host` is an address of this machine that all replicas reach.
    """

    def __init__(self, cluster: Cluster, *, host: str, policy: FleetPolicy = DEFAULT_POLICY) -> None:
        self.figures = FigureBook()
        self._cluster = cluster
        self._host = host
        self._policy = policy
        self._table = RunTable(policy.silent_ticks, self._name_them)
        self._listener = LinkListener(self._table)
        self._deployments: tuple[Deployment, ...] = ()
        self._told: dict[str, list[ModelStatus]] = {}
        """By deployment, the names that a replica has told: while versions change, maybe one of before."""
        self._names = ServedNames((), {})
        self._awaited: set[str] | None = None
        """The deployments of the start that have had no replica yet; None before the cluster has told any."""
        self._heard_s = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._n_renewals = 0
        self._renewed_s = 0.0
        self._stopping = False
        self._has_left = False

    # --- life ---

    async def start(self) -> None:
        """Listen for replicas, and ask what is deployed, now and from now on.

        Returns once all deployments with replicas have one here, or they take too long.
        Raises WorkerError if the cluster doesn't answer, and OSError if the address can't be had.
        """
        await self._listener.start(self._host)
        try:
            await self._look()
        except (WorkerError, ConnectionError, TimeoutError) as error:
            await self._listener.stop()
            raise WorkerError(f"the cluster doesn't answer: {error}; is it up?") from error
        self._watching = asyncio.create_task(self._watch(), name="cluster")
        roster, there = self._table.roster, [each.name for each in self._deployments if each.n_replicas]
        await roster.holds(lambda: all(roster.of(name) for name in there), self._policy.meet_s)

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, let running ones finish for `grace_s` seconds, and leave the cluster."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
            await self._withdraw()
        await self._table.idle(grace_s)
        self._has_left = True
        self._table.end_all("the server is shutting down")
        await self._listener.stop()

    @property
    def n_running(self) -> int:
        """The number of requests that are in replicas, or wait for a place in one."""
        return self._table.n_running

    # --- ModelService ---

    def models(self) -> list[ModelStatus]:
        return self._names.models()

    def find(self, name: str) -> ModelStatus:
        return msgspec.structs.replace(self._names.find(name).status, name=name)

    def ready(self) -> bool:
        """True once each deployment of the start has had a replica, while any has and the cluster answers."""
        is_heard = self._silent_s < self._policy.deaf_after_s
        has_replicas = any(self._table.roster.of(deployment.name) for deployment in self._deployments)
        return not self._stopping and self._awaited == set() and has_replicas and is_heard

    def impediment(self) -> str | None:
        if self._silent_s >= self._policy.deaf_after_s:
            return (
                f"The cluster hasn't answered for {self._silent_s:.0f} s: its head is gone, or Ray on this"
                " machine; requests go to the replicas there are"
            )
        return None if self._deployments else "Nothing is deployed in the cluster: corral cluster deploy"

    def generate(self, name: str, request: Work) -> RequestHandle:
        served = self._names.find(name)
        key, origin = prefix_key(served.deployment.model, request), current_origin()
        origin.prefix_key = origin.prefix_key or key
        meter = RequestMeter(self.figures, origin, is_pooled=isinstance(request, Pool))
        tried: set[str] = set()

        @asynccontextmanager
        async def lease(died: WorkerDied | None) -> AsyncIterator[ReplicaRun]:
            if self._has_left or (self._stopping and died is None):
                raise died or WorkerError("the server is shutting down; send the request to another one")
            served = self._servable(name)
            if died is None:
                self._check_queue(served.deployment.name)
            meter.assign(served.status.name, served.status.type)
            to = Destination(served.deployment.name, served.name_there, key, frozenset(tried))
            run = ReplicaRun(to, self._table, self._policy.load_wait_s)
            try:
                yield run
            finally:
                if run.replica is not None:
                    tried.add(run.replica)

        return RequestHandle(request, lease, meter, max_workers=self._policy.max_replicas)

    async def ask(
        self,
        name: str,
        question: Question,
        reply_type: type[R],
        on_part: Callable[[R], None] | None = None,  # noqa: ARG002 - a reply comes whole
    ) -> R:
        if isinstance(question, ChangeSlot):
            message = "a slot is kept or brought back in one worker, and here are several; ask its own server"
            raise NotServed(message)
        served = self._servable(name)
        lost = None
        for _ in range(self._policy.max_replicas):
            try:
                peer = await self._table.roster.some(served.deployment.name, self._policy.load_wait_s)
                return await peer.ask(question, reply_type, served.name_there)
            except ReplicaLost as error:
                logger.info("%s is asked again: %s", served.deployment.name, error.message)
                lost = error
        assert lost is not None
        raise lost

    async def stats(self, name: str) -> StatsReply:
        served = self._names.find(name)
        peers = self._peers_of(served)
        return sum_of_stats(await asyncio.gather(*(peer.ask(Stats(), StatsReply) for peer in peers)))

    async def slots(self, name: str) -> SlotsReply:
        """Return the slots of all replicas, numbered through."""
        served = self._names.find(name)
        replies = await asyncio.gather(*(peer.ask(Slots(), SlotsReply) for peer in self._peers_of(served)))
        states = [state for reply in replies for state in reply.slots]
        return SlotsReply("", [msgspec.structs.replace(state, id=n) for n, state in enumerate(states)])

    async def samples(self, timeout_s: float) -> list[WorkerSample]:
        return list(await asyncio.gather(*(self._sample(each, timeout_s) for each in self._deployments)))

    # --- inside ---

    @property
    def _silent_s(self) -> float:
        """The time since the cluster has last told what is deployed."""
        return _now_s() - self._heard_s

    def _peers_of(self, served: ServedModel) -> list[Peer]:
        """Return the replicas of a model. Raises WorkerError without any."""
        peers = self._table.roster.of(served.deployment.name)
        if not peers:
            raise WorkerError(f"no replica of {served.status.name} is there yet; ask again later")
        return peers

    def _servable(self, name: str) -> ServedModel:
        """Return the model by a name. Raises ModelNotFound, and ModelLoadError for one that failed."""
        served = self._names.find(name)
        if served.status.state == "failed":
            problem = served.status.problem or "it could not be loaded"
            raise ModelLoadError(f"the model {name} can't be served: {problem}")
        return served

    def _check_queue(self, deployment: str) -> None:
        """Raise WorkerBusy if as many requests wait as may."""
        n_waiting = self._table.n_waiting(deployment)
        if n_waiting >= self._policy.max_waiting:
            raise WorkerBusy(
                f"{n_waiting} requests already wait for a replica of {deployment}, which is the limit;"
                " send this one again later",
                retry_after_s=5.0,
            )

    async def _sample(self, deployment: Deployment, timeout_s: float) -> WorkerSample:
        """Ask a deployment's replicas; what one said last stands for one that doesn't answer in time."""
        peers = self._table.roster.of(deployment.name)
        asked = (asyncio.wait_for(peer.ask(Stats(), StatsReply), timeout_s) for peer in peers)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CorralError | TimeoutError):
                raise answer
        known = [peer.latest_stats for peer in peers if peer.latest_stats is not None]
        runs = self._table.runs_of(deployment.name)
        n_started = sum(run.stream.started for run in runs)
        status = self._names.find(deployment.name).status
        return WorkerSample(
            model=status.name,
            type=status.type,
            state=status.state,
            running=n_started,
            waiting=len(runs) - n_started,
            figures=self.figures.of_workers(status.name, status.type),
            stats=sum_of_stats(known) if known else None,
            answered=bool(known) and not any(isinstance(answer, BaseException) for answer in answers),
        )

    # --- what is deployed ---

    async def _watch(self) -> None:
        """Ask the cluster again and again."""
        is_deaf = False
        while True:
            await asyncio.sleep(self._policy.poll_s)
            try:
                await self._look()
            except (CorralError, ConnectionError, TimeoutError) as error:
                if not is_deaf:
                    logger.warning("the cluster doesn't answer: %s", error)
                is_deaf = True
            else:
                is_deaf = False

    async def _look(self) -> None:
        """Ask the cluster what is deployed, and tell it that this API process lives."""
        now_s = _now_s()
        if not self._n_renewals or now_s - self._renewed_s >= RENEW_S:
            self._n_renewals += 1
            await self._cluster.announce(self._listener.address, self._n_renewals)
            self._renewed_s = now_s
        self._deployments = tuple(await self._cluster.deployments())
        self._heard_s = _now_s()
        self._name_them()

    async def _withdraw(self) -> None:
        """Have the cluster forget this API process; if nobody hears it, replicas do by themselves."""
        try:
            await asyncio.wait_for(self._cluster.withdraw(self._listener.address), self._policy.leave_s)
        except (WorkerError, ConnectionError, TimeoutError) as error:
            logger.info("the cluster doesn't hear that this API process ends: %s", error)

    def _name_them(self) -> None:
        """Name what is deployed as its replicas do; called whenever either may have changed."""
        if not self._heard_s:
            return
        told = self._told
        self._told = {}
        for deployment in self._deployments:
            hellos = [peer.hello for peer in self._table.roster.of(deployment.name)]
            hellos.sort(key=lambda hello: hello.version != deployment.version)
            statuses = hellos[0].statuses if hellos else told.get(deployment.name)
            if statuses is not None:
                self._told[deployment.name] = statuses
        without = {
            deployment.name
            for deployment in self._deployments
            if deployment.state != "failed" and not self._table.roster.of(deployment.name)
        }
        self._awaited = without if self._awaited is None else self._awaited & without
        self._names = ServedNames(self._deployments, self._told)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
