"""`ReplicaService`: a replica: a supervisor with one model, which serves any number of API processes.

It knows nothing of what places it; all its methods belong to the event loop of `start`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec

from models.errors import CorralError, WorkerError
from server.cluster.deployments import LinkAddress
from server.cluster.link.link_messages import Answer, Ask, Beat, Begin, Declined, Hello, Refused
from server.cluster.link.refusals import refusal_of
from server.cluster.replica.replica_link import ReplicaLink, ReplicaLinks
from server.ipc.messages import Reply, Slots, Stats
from server.supervisor.protocol import ModelStatus
from server.supervisor.supervisor import Supervisor

logger = logging.getLogger("corral.cluster")

LOOK_S = 1.0
"""The cluster is asked for API processes at this interval while one of them has no link."""
CALM_LOOK_S = 3.0
"""It is asked so seldom while all have one; an API process that starts waits longer for its replicas."""
MEET_S = 5.0
"""A replica that starts waits so long for its links to those there are."""

_DEFECT = "a replica met a defect; its log has it"

ReadAddresses = Callable[[], Awaitable[Sequence[LinkAddress]]]


class ReplicaService:
    """A `LinkUser`.

    An answer whose worker dies doesn't go on here by itself: the API process takes it to a replica that is
    ready, and only to this one, once its worker is back, if there is no other.
    """

    def __init__(
        self, supervisor: Supervisor, *, deployment: str, max_ongoing: int, version: str = ""
    ) -> None:
        """`max_ongoing`: it declines further requests while it has so many."""
        self._supervisor = supervisor
        self._deployment = deployment
        self._max_ongoing = max_ongoing
        self._version = version
        self._name = secrets.token_hex(8)
        self._links = ReplicaLinks(self)
        self._runs: set[asyncio.Task[None]] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self._is_draining = False
        self._is_deaf = False

    # --- life ---

    async def start(self, read_addresses: ReadAddresses) -> None:
        """Load the model, and connect to the API processes there are, now and from now on.

        `read_addresses` raises WorkerError, ConnectionError or TimeoutError while nobody can tell them.
        Raises the error of the load.
        """
        self._supervisor.start()
        await self._supervisor.wait_ready()
        await self._look(read_addresses)
        await self._links.met(MEET_S)
        self._following = asyncio.create_task(self._follow(read_addresses))

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, let running ones finish for `grace_s` seconds, end the worker.

        Those that still run then go on in other replicas.
        """
        self._is_draining = True
        self._links.send_beat()
        if self._runs and grace_s > 0:
            await asyncio.wait(self._runs, timeout=grace_s)
        if self._following is not None:
            self._following.cancel()
        self._links.close()
        await self._supervisor.stop(0.0)

    def check_health(self) -> None:
        """Raise WorkerError if the model can't be served here, not while its worker is started again."""
        status = self._model
        if status.state == "failed":
            raise WorkerError(f"the model {status.name} can't be served: {status.problem}")

    @property
    def n_ongoing(self) -> int:
        """The number of requests that it has, computed or waiting."""
        return len(self._runs)

    @property
    def load(self) -> float:
        """The number of its requests, and its share of those that wait for a place in any replica."""
        return self.n_ongoing + self._links.n_waiting

    # --- LinkUser ---

    def hello(self) -> Hello:
        return Hello(
            replica=self._name,
            deployment=self._deployment,
            version=self._version,
            statuses=self._supervisor.models(),
            max_ongoing=self._max_ongoing,
        )

    def beat(self) -> Beat:
        return Beat(self.n_ongoing, self._model.state == "ready", self._is_draining)

    def take(self, link: ReplicaLink, message: Begin | Ask) -> None:
        if isinstance(message, Ask):
            _ = self._start(self._answer(link, message), self._answers)
        elif self._is_draining or self.n_ongoing >= self._max_ongoing:
            link.send(Declined(message.work.id))
        else:
            task = self._start(self._run(link, message), self._runs)
            link.begin(message.work.id, task)

    # --- inside ---

    @property
    def _model(self) -> ModelStatus:
        return self._supervisor.models()[0]

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _follow(self, read_addresses: ReadAddresses) -> None:
        while True:
            await asyncio.sleep(CALM_LOOK_S if self._links.are_met else LOOK_S)
            await self._look(read_addresses)

    async def _look(self, read_addresses: ReadAddresses) -> None:
        """Ask for the API processes; those known last stay while nobody tells."""
        try:
            self._links.keep(await read_addresses())
            self._is_deaf = False
        except (WorkerError, ConnectionError, TimeoutError) as error:
            if not self._is_deaf:
                logger.warning("the cluster doesn't tell its API processes: %s", error)
            self._is_deaf = True

    async def _run(self, link: ReplicaLink, message: Begin) -> None:
        """Serve a request, whose events go over the link."""
        request = msgspec.structs.replace(message.work, keep_alive_s=None)
        try:
            name = message.name or self._model.name
            await self._supervisor.relay(name, request).subscribe(link)
        except CorralError as error:
            link.send(Refused(request.id, refusal_of(error)))
        except Exception:
            logger.exception("a defect in a request")
            link.send(Refused(request.id, refusal_of(WorkerError(_DEFECT))))

    async def _answer(self, link: ReplicaLink, message: Ask) -> None:
        """Answer a question."""
        question, name = message.question, message.name or self._model.name
        try:
            reply: Reply | Any
            if isinstance(question, Stats):
                reply = await self._supervisor.stats(name)
            elif isinstance(question, Slots):
                reply = await self._supervisor.slots(name)
            else:
                reply = await self._supervisor.ask(name, question, msgspec.Struct)
            link.send(Answer(message.id, reply))
        except CorralError as error:
            link.send(Answer(message.id, refusal_of(error)))
        except Exception:
            logger.exception("a defect in a question")
            link.send(Answer(message.id, refusal_of(WorkerError(_DEFECT))))
