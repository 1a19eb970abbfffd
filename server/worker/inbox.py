"""`Inbox`: the thread that reads the socket, answers what needs no engine and prepares what does."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from models.errors import CorralError, WorkerError
from server.engine.engine import Engine
from server.engine.event_factory import error_failure
from server.engine.events import Failure
from server.engine.request import EngineRequest
from server.ipc.messages import (
    ApplyTemplate,
    Cancel,
    Detokenize,
    Drain,
    Generate,
    LoadAdapter,
    Question,
    Reply,
    Stats,
    StatsReply,
    StepEvents,
    Tokenize,
    UnloadAdapter,
    WorkerRequest,
)
from server.worker.channel import Channel
from server.worker.prompts import PromptReader

logger = logging.getLogger("corral.worker")

Work = EngineRequest | Cancel | Drain | LoadAdapter | UnloadAdapter


@dataclass(frozen=True)
class Serving:
    """The parts of a served model that the inbox needs."""

    prompts: PromptReader
    engine: Engine
    n_kv_tokens: int


class Inbox:
    """Reads messages and puts into `work` those for the engine's thread, which computes meanwhile.

    `on_closed` is called when the other side has closed the socket or broke the protocol, and for a `Drain`
    while there is nothing to finish yet.
    """

    def __init__(self, channel: Channel, on_closed: Callable[[], None]) -> None:
        self.work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._channel = channel
        self._on_closed = on_closed
        self._serving: Serving | None = None
        self._process = psutil.Process()

    def start(self) -> None:
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def serve(self, serving: Serving) -> None:
        """Answer requests from now on: the model is loaded."""
        self._serving = serving

    def _read(self) -> None:
        try:
            while (message := self._channel.receive()) is not None:
                self._take(message)
        except (OSError, WorkerError):
            pass  # the other side is gone, or isn't what it should be: the same to us
        self._on_closed()

    def _take(self, message: WorkerRequest) -> None:
        if isinstance(message, Drain) and self._serving is None:
            self._on_closed()
        if isinstance(message, Cancel | Drain):
            self.work.put(message)
            return
        try:
            if self._serving is None:
                self._refuse(message)
            elif isinstance(message, Generate):
                self.work.put(self._serving.prompts.read(message))
            elif isinstance(message, LoadAdapter | UnloadAdapter):
                self.work.put(message)
            else:
                self._channel.send(self._answer(message, self._serving))
        except CorralError as error:
            self._send_failure(message, error_failure(message.id, error))
        except OSError:
            raise  # the socket
        except Exception as error:
            logger.exception("a request could not be prepared")
            text = f"the request could not be prepared: {type(error).__name__}: {error}"
            self._send_failure(message, Failure(id=message.id, kind="server_error", message=text))

    def _refuse(self, message: WorkerRequest) -> None:
        assert not isinstance(message, Cancel | Drain)
        text = "the model is still loading; try again in a moment"
        self._send_failure(message, Failure(id=message.id, kind="unavailable", message=text))

    def _send_failure(self, message: WorkerRequest, event: Failure) -> None:
        self._channel.send(StepEvents([event]) if isinstance(message, Generate) else event)

    def _answer(self, message: Question, serving: Serving) -> Reply:
        match message:
            case Tokenize():
                return serving.prompts.tokenize(message)
            case Detokenize():
                return serving.prompts.detokenize(message)
            case ApplyTemplate():
                return serving.prompts.apply_template(message)
            case Stats():
                return self._stats(message, serving)

    def _stats(self, message: Stats, serving: Serving) -> StatsReply:
        engine, totals = serving.engine, serving.engine.stats
        return StatsReply(
            id=message.id,
            running=engine.n_running,
            waiting=engine.n_waiting + self.work.qsize(),
            kv_used_tokens=engine.n_held_tokens,
            kv_total_tokens=serving.n_kv_tokens,
            prompt_tokens_total=totals.prompt_tokens_total,
            generated_tokens_total=totals.generated_tokens_total,
            prompt_s_total=totals.prompt_s_total,
            generated_s_total=totals.generated_s_total,
            steps_total=totals.steps_total,
            cached_tokens_total=totals.cached_tokens_total,
            rss_bytes=self._process.memory_info().rss,
        )


def exit_at_once() -> None:
    """End the process without waiting for a decode: nobody is left to hear."""
    os._exit(0)
