"""`Inbox`: the thread that reads the socket, and hands each message to the engine or to a lane.

What takes time, rendering and tokenizing, is done in `lanes`; a few words are tokenized at once. So a cancel
comes through at once, also for a request that is still being prepared.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psutil

from models.errors import CorralError, RequestError, WorkerError
from server.engine.engine import Engine
from server.engine.event_factory import cancelled_failure, error_failure
from server.engine.events import Failure
from server.engine.request import EngineRequest
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    Cancel,
    ChangeSlot,
    CountTokens,
    Detokenize,
    DetokenizeReply,
    Drain,
    Generate,
    GiveWay,
    LoadAdapter,
    Pool,
    Reply,
    Slots,
    Stats,
    StatsReply,
    StepEvents,
    Tokenize,
    TokenizeReply,
    UnloadAdapter,
    WorkerRequest,
)
from server.ipc.pulse import Pulse
from server.worker.channel import Channel
from server.worker.images.intake import Arrival, ImageIntake
from server.worker.images.reader import ImageReader, ReadImage
from server.worker.lanes import Lanes, is_instant, lane_of, needs_images
from server.worker.pending import Pending, PendingRequest, Prepared
from server.worker.pooled.engine import PooledEngine
from server.worker.pooled.reader import PooledReader
from server.worker.pooled.refusals import MAKES_NO_VECTORS, WRONG_KIND, writes_no_text
from server.worker.pooled.request import PooledRequest
from server.worker.prompts import PromptReader
from server.worker.slot_files import ReadSlot

logger = logging.getLogger("corral.worker")

AnyEngine = Engine | PooledEngine

Work = Prepared | Cancel | Drain | LoadAdapter | UnloadAdapter | Slots | ChangeSlot | ReadSlot

Asked = Tokenize | Detokenize | ApplyTemplate | CountTokens

T = TypeVar("T")

SHUTTING_DOWN = "the model is being unloaded or the server is shutting down; send the request again"


@dataclass(frozen=True)
class Serving:
    """The parts of a served model that the inbox needs."""

    prompts: PromptReader
    engine: AnyEngine
    n_kv_tokens: int
    pooled: PooledReader | None = None
    """It reads the requests of a model that makes vectors; None: the model writes text."""
    images: ImageReader | None = None
    """It prepares images; None: the model sees none."""

    def read(self, message: Generate | Pool, images: Sequence[ReadImage] | None = None) -> Prepared:
        """Return the request for the engine. Raises RequestError, also for one that is another kind's.

        `images` are those of a chat that has some.
        """
        if isinstance(message, Generate):
            if self.pooled is not None:
                raise RequestError(writes_no_text(self.pooled.pooling), param="model", code=WRONG_KIND)
            return self.prompts.read(message, images)
        if self.pooled is None:
            raise RequestError(MAKES_NO_VECTORS, param="model", code=WRONG_KIND)
        return self.pooled.read(message)


class Inbox:
    """Reads messages and puts into `work` those for the engine's thread, which computes meanwhile.

    Messages come out in the order they came in, but that a request comes when it is prepared: short ones
    before long ones. An adapter that is unloaded is still there for the requests that came before.

    `on_closed` is called when the other side has closed the socket or broke the protocol, and for a `Drain`
    while there is nothing to finish yet.
    """

    def __init__(self, channel: Channel, on_closed: Callable[[], None], pulse: Pulse | None = None) -> None:
        """`pulse` shows how long requests are prepared; None: nobody looks."""
        self.work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._channel = channel
        self._on_closed = on_closed
        self._serving: Serving | None = None
        self._intake: ImageIntake | None = None
        self._pending = Pending()
        self._lanes = Lanes(pulse)
        self._process = psutil.Process()
        self._gives_way = False

    def start(self) -> None:
        """Start the threads, which end with the process."""
        self._lanes.start()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def serve(self, serving: Serving) -> None:
        """Answer requests from now on: the model is loaded."""
        if isinstance(serving.engine, PooledEngine):
            serving.engine.gives_way = self._gives_way
        if serving.images is not None:
            self._intake = ImageIntake(self._lanes, serving.prompts, serving.images)
        self._serving = serving

    # --- the end: the engine's thread ---

    def send_last_stats(self) -> None:
        """Send the totals of all that was served, which nobody has asked for: the process ends."""
        if self._serving is not None:
            self._channel.send(self._stats("", self._serving))

    def shut(self) -> None:
        """Refuse requests that come from now on; those in preparation go on."""
        self._pending.shut()

    @property
    def is_empty(self) -> bool:
        """True if no request is being prepared and nothing waits in `work`."""
        return not len(self._pending) and self.work.empty()  # in this order: a request is put, then forgotten

    def take_unserved(self) -> list[str]:
        """Return the ids of all requests that haven't reached the engine: whoever asks answers them."""
        ids = self._pending.close_all()
        while not self.work.empty():
            if isinstance(message := self.work.get_nowait(), EngineRequest | PooledRequest):
                ids.append(message.id)
        return ids

    # --- the inbox's thread ---

    def _read(self) -> None:
        try:
            while (message := self._channel.receive()) is not None:
                self._take(message)
        except ConnectionError:
            pass  # the other side is gone
        except (OSError, WorkerError) as error:
            logger.error("the worker ends: the connection to the server failed: %s", error)  # noqa: TRY400
        self._on_closed()

    def _take(self, message: WorkerRequest) -> None:
        match message:
            case Drain():
                if self._serving is None:
                    self._on_closed()
                self._pending.shut()
                self.work.put(message)
            case Cancel():
                self._cancel(message)
            case GiveWay():
                self._gives_way = message.active
                if self._serving is not None and isinstance(self._serving.engine, PooledEngine):
                    self._serving.engine.gives_way = message.active
            case _ if self._serving is None:
                text = "the model is still loading; try again in a moment"
                self._send_failure(message, Failure(id=message.id, kind="unavailable", message=text))
            case Generate() | Pool():
                self._begin(message, self._serving)
            case LoadAdapter() | Slots() | ChangeSlot():
                self.work.put(message)
            case UnloadAdapter():
                self._pending.after(message.adapter_id, lambda: self.work.put(message))
            case Stats():
                self._channel.send(self._stats(message.id, self._serving))
            case _:
                serving = self._serving
                self._when_seen(
                    message, lambda images: self._reply(message, serving, images), self._send_from_lane
                )

    def _cancel(self, message: Cancel) -> None:
        if self._pending.cancel(message.id):
            if self._intake is not None:
                self._intake.forget(message.id)
            self._send_events(cancelled_failure(message.id))
        else:
            self.work.put(message)

    def _begin(self, message: Generate | Pool, serving: Serving) -> None:
        try:
            request = self._pending.add(message)
        except CorralError as error:
            self._send_events(error_failure(message.id, error))
            return
        if request is None:
            self._send_events(Failure(id=message.id, kind="unavailable", message=SHUTTING_DOWN))
            return
        self._when_seen(
            message,
            lambda images: self._prepare(message, request, serving, images),
            lambda failure: self._refuse(request, failure),
            lambda: request.open,
        )

    def _when_seen(
        self,
        message: Generate | Pool | Asked,
        act: Callable[[Sequence[ReadImage] | None], None],
        refuse: Callable[[Failure], None],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Run `act` in the message's lane, with its images if it has some, or `refuse` for one of them."""
        if not needs_images(message) or self._intake is None:  # without it they are refused in the lane
            self._run(lambda: act(None), message)
            return
        arrival = Arrival(
            done=lambda images: self._run(lambda: act(images), message),
            failed=lambda error: refuse(_failure(message.id, error)),
            is_wanted=is_wanted,
        )
        self._intake.take(message, arrival)

    def _run(self, job: Callable[[], None], message: Generate | Pool | Asked) -> None:
        if is_instant(message):
            job()
        else:
            self._lanes.put(job, lane_of(message))

    # --- the lanes' threads, and the inbox's for what is instant ---

    def _prepare(
        self,
        message: Generate | Pool,
        request: PendingRequest,
        serving: Serving,
        images: Sequence[ReadImage] | None,
    ) -> None:
        if not request.open:
            return
        prepared = _attempt(message.id, lambda: serving.read(message, images))
        if isinstance(prepared, Failure):
            self._refuse(request, prepared)
        else:
            self._pending.hand_on(request, prepared, self.work.put)

    def _refuse(self, request: PendingRequest, failure: Failure) -> None:
        if self._pending.close(request):
            self._send_from_lane(StepEvents([failure]))

    def _reply(self, message: Asked, serving: Serving, images: Sequence[ReadImage] | None = None) -> None:
        self._send_from_lane(_attempt(message.id, lambda: self._answer(message, serving, images)))

    def _answer(self, message: Asked, serving: Serving, images: Sequence[ReadImage] | None) -> Reply:
        match message:
            case Tokenize():
                return serving.prompts.tokenize(message)
            case Detokenize():
                return serving.prompts.detokenize(message)
            case ApplyTemplate():
                return serving.prompts.apply_template(message)
            case CountTokens():
                return serving.prompts.count_tokens(message, images)

    def _send_from_lane(self, reply: Reply) -> None:
        try:
            self._channel.send(reply)
        except OSError:
            pass  # the other side is gone: the inbox's thread hears it, too
        except CorralError as error:  # an answer that is too long
            assert isinstance(reply, TokenizeReply | DetokenizeReply | ApplyTemplateReply), reply
            self._channel.send(error_failure(reply.id, error))

    # --- any thread ---

    def _send_failure(self, message: WorkerRequest, event: Failure) -> None:
        self._channel.send(StepEvents([event]) if isinstance(message, Generate | Pool) else event)

    def _send_events(self, event: Failure) -> None:
        self._channel.send(StepEvents([event]))

    def _stats(self, message_id: str, serving: Serving) -> StatsReply:
        engine, totals = serving.engine, serving.engine.stats
        return StatsReply(
            id=message_id,
            running=engine.n_running,
            waiting=engine.n_waiting + self.work.qsize() + len(self._pending),
            kv_used_tokens=engine.n_held_tokens,
            kv_total_tokens=serving.n_kv_tokens,
            prompt_tokens_total=totals.prompt_tokens_total,
            generated_tokens_total=totals.generated_tokens_total,
            prompt_s_total=totals.prompt_s_total,
            generated_s_total=totals.generated_s_total,
            steps_total=totals.steps_total,
            cached_tokens_total=totals.cached_tokens_total,
            rss_bytes=self._process.memory_info().rss,
            preemptions_total=totals.preemptions_total,
            entries_total=totals.entries_total,
            drafts_total=totals.drafts_total,
            step_counts=list(totals.step_counts),
            checkpoints=totals.checkpoints,
            checkpoint_bytes=totals.checkpoint_bytes,
            checkpoints_total=totals.checkpoints_total,
            rewinds_total=totals.rewinds_total,
        )


def _attempt(message_id: str, act: Callable[[], T]) -> T | Failure:
    """Return what `act` returns, or the failure that is to be answered in its place."""
    try:
        return act()
    except CorralError as error:
        return error_failure(message_id, error)
    except Exception as error:  # a lane's top: the request hears of a defect
        logger.exception("a request could not be prepared")
        return _failure(message_id, error)


def _failure(message_id: str, error: Exception) -> Failure:
    """Return the answer to an error, which may be a defect."""
    if isinstance(error, CorralError):
        return error_failure(message_id, error)
    text = f"the request could not be prepared: {type(error).__name__}: {error}"
    return Failure(id=message_id, kind="server_error", message=text)


def exit_at_once() -> None:
    """End the process without waiting for a decode: nobody is left to hear."""
    os._exit(0)
