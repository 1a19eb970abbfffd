"""`Peer`: one replica, as its connection shows it to an API process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from models.errors import RequestError
from server.cluster.deployments import ReplicaLost
from server.cluster.link.link_messages import Answer, Ask, Beat, Begin, Hello, Waiting, link_frame
from server.cluster.link.refusals import Refusal, error_of
from server.cluster.peers.choice import Load
from server.ipc.frames import FrameError
from server.ipc.messages import Cancel, Question, Reply, StatsReply
from server.metrics.step import Step

if TYPE_CHECKING:
    from server.cluster.peers.run_table import Run

R = TypeVar("R")


def request_frame(message: Begin | Ask) -> bytes:
    """Return the frame of what a client asks for. Raises RequestError if it is too large."""
    try:
        return link_frame(message)
    except FrameError as error:
        raise RequestError(f"the request is too large: {error.message}") from error


class Peer:
    """`write` and `abort` are the connection's; after its end `write` does nothing."""

    def __init__(self, hello: Hello, write: Callable[[bytes], None], abort: Callable[[], None]) -> None:
        self.hello = hello
        self.write = write
        self.abort = abort
        self.runs: dict[str, Run] = {}
        self.beat = Beat()
        self.n_silent = 0
        """The ticks since it has last said anything."""
        self.step = Step(0.0)
        self.latest_stats: StatsReply | None = None
        self._n_others = 0
        """Its requests that aren't this API process's, as its latest beat or word had them."""
        self._n_waiting = 0.0
        self._questions: dict[str, asyncio.Future[Reply | Refusal]] = {}
        self._ids = itertools.count(1)

    @property
    def load(self) -> Load:
        """The number of its requests, as far as they are known here, and the most that it takes."""
        return Load(len(self.runs) + self._n_others, self.hello.max_ongoing)

    def cancel(self, run_id: str) -> None:
        """Have it stop a request."""
        self.write(link_frame(Cancel(id=run_id)))

    def tell_waiting(self, n: float) -> None:
        """Tell its share of the requests that wait, if that has changed."""
        if n != self._n_waiting:
            self._n_waiting = n
            self.write(link_frame(Waiting(n)))

    def on_beat(self, beat: Beat) -> None:
        """Take what it says of itself."""
        self.beat = beat
        self._n_others = max(0, beat.n_ongoing - len(self.runs))

    def on_declined(self) -> None:
        """It is full, or ends: no request goes there until it says more, or one of ours has ended."""
        self._n_others = max(self._n_others, self.hello.max_ongoing - len(self.runs))

    def on_worker_died(self) -> None:
        """It starts its worker again, and tells when that is ready."""
        self.beat = msgspec.structs.replace(self.beat, is_ready=False)

    async def ask(self, question: Question, reply_type: type[R], name: str = "") -> R:
        """Return the answer of the model of that name there, or of its main one.

        Raises ReplicaLost if it goes, its refusal, and RequestError for a question that is too large.
        """
        ask_id = str(next(self._ids))
        future = self._questions[ask_id] = asyncio.get_running_loop().create_future()
        try:
            self.write(request_frame(Ask(ask_id, name, question)))
            reply = await future
        finally:
            del self._questions[ask_id]
        if isinstance(reply, Refusal):
            raise error_of(reply)
        if not isinstance(reply, reply_type):
            raise FrameError(f"a replica answered {type(question).__name__} with {type(reply).__name__}")
        if isinstance(reply, StatsReply):
            self.latest_stats = reply
        return reply

    def on_answer(self, answer: Answer) -> None:
        """Hand an answer to whoever has asked."""
        future = self._questions.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer.reply)

    def leave(self, error: ReplicaLost) -> None:
        """Tell those who have asked that no answer comes."""
        for future in self._questions.values():
            if not future.done():
                future.set_exception(error)
