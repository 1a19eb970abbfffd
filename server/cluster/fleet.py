"""`Fleet`: the models of a cluster, as a `ModelService`.

A name is looked up among what is deployed, and the request goes to a replica of that deployment, by a call
that its `DeploymentHandle` makes; the events come over the link. An answer whose replica dies goes on in
another one. An API process keeps nothing that another one would need: there may be any number of them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from models.errors import CorralError, ModelLoadError, NotServed, WorkerBusy, WorkerDied, WorkerError
from server.cluster.calls import decode_answer, decode_info, encode_call
from server.cluster.handles import Cluster, Deployment, ReplicaInfo, ReplicaLost
from server.cluster.link_listener import LinkListener
from server.cluster.replica_run import Destination, ReplicaRun
from server.cluster.run_table import Peer, RunTable
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
    """A replica with requests that says nothing for so many seconds is lost."""
    hurry_s: float = 2.0
    """After a loss another replica has to take the request within so many seconds, then in twice as many."""
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
        self._table = RunTable(policy.silent_ticks)
        self._listener = LinkListener(self._table)
        self._deployments: tuple[Deployment, ...] = ()
        self._told: dict[str, ReplicaInfo] = {}
        """By deployment, what a replica has told: while versions change, maybe one of before."""
        self._names = ServedNames((), {})
        self._awaited: set[str] | None = None
        """The deployments of the start that have had no replica yet; None before the cluster has told any."""
        self._heard_s = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._runs: set[ReplicaRun] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._has_left = False

    # --- life ---

    async def start(self) -> None:
        """Listen for replicas, and ask what is deployed, now and from now on.

        Raises WorkerError if the cluster doesn't answer, and OSError if the address can't be had.
        """
        await self._listener.start(self._host)
        try:
            await self._look()
        except (WorkerError, ConnectionError, TimeoutError) as error:
            await self._listener.stop()
            raise WorkerError(f"the cluster doesn't answer: {error}; is it up?") from error
        self._watching = asyncio.create_task(self._watch(), name="cluster")

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, let running ones finish for `grace_s` seconds, and leave the cluster."""
        self._stopping = True
        deadline_s = _now_s() + grace_s
        while self._calls and (left_s := deadline_s - _now_s()) > 0:
            await asyncio.wait(self._calls, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        self._has_left = True
        self._table.end_all("the server is shutting down")
        tasks = [*self._calls, *([self._watching] if self._watching is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._listener.stop()

    @property
    def n_running(self) -> int:
        """The number of requests that are in replicas, or on the way to one."""
        return self._table.n_running

    # --- ModelService ---

    def models(self) -> list[ModelStatus]:
        return self._names.models()

    def find(self, name: str) -> ModelStatus:
        return msgspec.structs.replace(self._names.find(name).status, name=name)

    def ready(self) -> bool:
        """True once each deployment of the start has had a replica, while any has and the cluster answers."""
        is_heard = _now_s() - self._heard_s < self._policy.deaf_after_s
        has_replicas = any(deployment.n_replicas for deployment in self._deployments)
        return not self._stopping and self._awaited == set() and has_replicas and is_heard

    def generate(self, name: str, request: Work) -> RequestHandle:
        served = self._names.find(name)
        key, origin = prefix_key(served.deployment.model, request), current_origin()
        origin.prefix_key = origin.prefix_key or key
        meter = RequestMeter(self.figures, origin, is_pooled=isinstance(request, Pool))
        numbers = itertools.count()

        @asynccontextmanager
        async def lease(died: WorkerDied | None) -> AsyncIterator[ReplicaRun]:
            if self._has_left or (self._stopping and died is None):
                raise died or WorkerError("the server is shutting down; send the request to another one")
            served = self._servable(name)
            if died is None:
                self._check_queue(served.deployment.name)
            meter.assign(served.status.name, served.status.type)
            number = next(numbers)
            destination = Destination(
                served.deployment.name,
                served.deployment.handle,
                served.name_there,
                f"{key}-{number}" if key and number else key,
                self._listener.reply_to,
                self._policy.load_wait_s,
                self._policy.hurry_s,
            )
            run = ReplicaRun(destination, self._table, self._calls)
            self._runs.add(run)
            try:
                yield run
            finally:
                self._runs.discard(run)

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
        frame, handle = encode_call(question), served.deployment.handle
        for _ in range(self._policy.max_replicas - 1):
            try:
                return decode_answer(await handle.ask(served.name_there, frame), reply_type)
            except ReplicaLost as error:
                logger.info("%s is asked again: %s", served.deployment.name, error.message)
        return decode_answer(await handle.ask(served.name_there, frame), reply_type)

    async def stats(self, name: str) -> StatsReply:
        served = self._names.find(name)
        peers = self._peers_of(served)
        return sum_of_stats(await asyncio.gather(*(peer.ask(Stats, StatsReply) for peer in peers)))

    async def slots(self, name: str) -> SlotsReply:
        """Return the slots of all replicas that this API process has met, numbered through."""
        served = self._names.find(name)
        replies = await asyncio.gather(*(peer.ask(Slots, SlotsReply) for peer in self._peers_of(served)))
        states = [state for reply in replies for state in reply.slots]
        return SlotsReply("", [msgspec.structs.replace(state, id=n) for n, state in enumerate(states)])

    async def samples(self, timeout_s: float) -> list[WorkerSample]:
        return list(await asyncio.gather(*(self._sample(each, timeout_s) for each in self._deployments)))

    # --- inside ---

    def _peers_of(self, served: ServedModel) -> list[Peer]:
        """Return the replicas of a model that have a link here. Raises WorkerError without any."""
        peers = [peer for peer in self._table.peers if peer.deployment == served.deployment.name]
        if not peers:
            raise WorkerError(
                f"no replica of {served.status.name} has had a request of this API process; send one first"
            )
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
        n_waiting = sum(run.waits for run in self._runs if run.deployment == deployment)
        if n_waiting >= self._policy.max_waiting:
            raise WorkerBusy(
                f"{n_waiting} requests already wait for a replica of {deployment}, which is the limit;"
                " send this one again later",
                retry_after_s=5.0,
            )

    async def _sample(self, deployment: Deployment, timeout_s: float) -> WorkerSample:
        """Ask a deployment's replicas; what one said last stands for one that doesn't answer in time."""
        peers = [peer for peer in self._table.peers if peer.deployment == deployment.name]
        asked = (asyncio.wait_for(peer.ask(Stats, StatsReply), timeout_s) for peer in peers)
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
            except (WorkerError, ConnectionError, TimeoutError) as error:
                if not is_deaf:
                    logger.warning("the cluster doesn't answer: %s", error)
                is_deaf = True
            else:
                is_deaf = False

    async def _look(self) -> None:
        """Ask the cluster what is deployed, and replicas what they serve where that isn't known."""
        self._deployments = tuple(await self._cluster.deployments())
        self._heard_s = _now_s()
        names = {deployment.name for deployment in self._deployments}
        without = {each.name for each in self._deployments if not each.n_replicas and each.state != "failed"}
        self._awaited = without if self._awaited is None else self._awaited & without
        self._told = {name: info for name, info in self._told.items() if name in names}
        self._name_them()
        for deployment in self._deployments:
            info = self._told.get(deployment.name)
            if deployment.n_replicas and (info is None or info.version != deployment.version):
                await self._hear(deployment)
        self._name_them()

    def _name_them(self) -> None:
        told = {name: info.statuses for name, info in self._told.items()}
        self._names = ServedNames(self._deployments, told)

    async def _hear(self, deployment: Deployment) -> None:
        """Ask a replica what it serves; one that has gone is asked for at the next look."""
        try:
            info = decode_info(await asyncio.wait_for(deployment.handle.info(), self._policy.poll_s * 5))
        except (WorkerError, TimeoutError) as error:
            logger.info("no replica of %s has said what it serves: %s", deployment.name, error)
            return
        self._told[deployment.name] = info


def _now_s() -> float:
    return asyncio.get_running_loop().time()
