"""`ReplicaService`: what a replica does with calls to it, around a supervisor with one model.

It knows nothing of what places and calls it; all its methods belong to the event loop of `start`.
"""

from __future__ import annotations

import asyncio

import msgspec

from models.errors import CorralError, WorkerError
from server.cluster.calls import decode_question, decode_work, encode_answer, refusal_of
from server.cluster.handles import ReplicaInfo, ReplyTo
from server.cluster.reply_link import ReplyLink, ReplyLinks
from server.engine.events import Failure
from server.ipc.messages import Slots, Stats
from server.supervisor.protocol import ModelStatus
from server.supervisor.supervisor import Supervisor


class ReplicaService:
    """Serves one model to any number of API processes.

    An answer whose worker dies doesn't go on here by itself: the API process takes it to a replica that is
    ready, and only to this one, once its worker is back, if there is no other.
    """

    def __init__(self, supervisor: Supervisor, version: str = "") -> None:
        self._supervisor = supervisor
        self._version = version
        self._links = ReplyLinks(self._answer)
        self._answers: set[asyncio.Task[None]] = set()

    # --- life ---

    async def start(self) -> None:
        """Load the model. Raises the error of its load."""
        self._supervisor.start()
        await self._supervisor.wait_ready()

    async def stop(self, grace_s: float) -> None:
        """Let running requests finish for `grace_s` seconds, end the worker, close the links."""
        await self._supervisor.stop(grace_s)
        self._links.close()

    def check_health(self) -> None:
        """Raise WorkerError if the model can't be served here, not while its worker is started again."""
        status = self._model
        if status.state == "failed":
            raise WorkerError(f"the model {status.name} can't be served: {status.problem}")

    @property
    def n_running(self) -> int:
        """The number of requests that run here."""
        return self._supervisor.n_running

    # --- calls ---

    async def run(self, name: str, frame: bytes, reply_to: ReplyTo) -> bytes:
        """Serve a request, whose events go to `reply_to`; return when it has ended.

        Returns nothing, or the refusal of a request that has had no event. Cancelling it, a `Cancel` on the
        link and the link's end cancel the request.
        """
        try:
            request = msgspec.structs.replace(decode_work(frame), keep_alive_s=None)
            link = await self._links.to(reply_to)
            running = asyncio.ensure_future(
                self._supervisor.generate(name or self._model.name, request, max_workers=1).subscribe(link)
            )
        except CorralError as error:
            return encode_answer(refusal_of(error))
        link.begin(request.id, running.cancel)
        try:
            await asyncio.wait([running])
        finally:
            link.end(request.id)
            running.cancel()
        try:
            running.result()
        except CorralError as error:
            return encode_answer(refusal_of(error))
        except asyncio.CancelledError:  # by the link: nobody waits for an answer
            pass
        return b""

    async def ask(self, name: str, frame: bytes) -> bytes:
        """Return the model's reply to a question, or the refusal."""
        try:
            question = decode_question(frame)
            reply = await self._supervisor.ask(name or self._model.name, question, msgspec.Struct)
            return encode_answer(reply)
        except CorralError as error:
            return encode_answer(refusal_of(error))

    async def info(self) -> bytes:
        """Return a `ReplicaInfo`."""
        return encode_answer(ReplicaInfo(statuses=self._supervisor.models(), version=self._version))

    # --- inside ---

    @property
    def _model(self) -> ModelStatus:
        return self._supervisor.models()[0]

    def _answer(self, link: ReplyLink, question: Stats | Slots) -> None:
        """Answer a question that came over a link."""
        task = asyncio.create_task(self._send_answer(link, question))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _send_answer(self, link: ReplyLink, question: Stats | Slots) -> None:
        name = self._model.name
        try:
            if isinstance(question, Stats):
                link.send(msgspec.structs.replace(await self._supervisor.stats(name), id=question.id))
            else:
                link.send(msgspec.structs.replace(await self._supervisor.slots(name), id=question.id))
        except CorralError as error:
            link.send(Failure(id=question.id, kind="unavailable", message=error.public))
