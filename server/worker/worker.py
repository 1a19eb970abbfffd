"""The worker: loads its model, then takes from the inbox, steps the engine and sends what happened."""

from __future__ import annotations

import gc
import logging
import queue
import time

from models.errors import CorralError
from server.engine.engine import Engine, EngineConfig
from server.engine.events import Failure
from server.engine.request import EngineRequest
from server.worker.channel import Channel
from server.worker.inbox import Inbox, Serving, Work, exit_at_once
from server.worker.loading import LoadedModel, load
from server.worker.messages import Cancel, Drain, LoadFailed, Loading, ModelSpec, Ready
from server.worker.outbox import MERGE_S, Outbox
from server.worker.prompts import PromptReader

logger = logging.getLogger("corral.worker")

EXIT_OK = 0
EXIT_BROKEN = 1
EXIT_LOAD_FAILED = 3

SHUTTING_DOWN = "the model is being unloaded or the server is shutting down; send the request again"


class Worker:
    """One model's process, without the process: everything belongs to the thread that calls `run`."""

    def __init__(self, channel: Channel, spec: ModelSpec) -> None:
        self._channel = channel
        self._spec = spec
        self._inbox = Inbox(channel, exit_at_once)
        self._drain_until_s: float | None = None
        self._loaded = False
        self._outbox = Outbox(channel)

    def drain(self, grace_s: float) -> None:
        """As if a `Drain` had come; safe in a signal handler."""
        if self._loaded:
            self._inbox.work.put(Drain(grace_s=grace_s))
        else:
            exit_at_once()

    def run(self) -> int:
        """Load and serve until drained; the process's exit status. The only broad except is here."""
        self._inbox.start()
        try:
            loaded = load(self._spec, lambda progress: self._channel.send(Loading(progress)))
        except CorralError as error:
            self._channel.send(LoadFailed(error.message, type(error).__name__))
            return EXIT_LOAD_FAILED
        engine = Engine(loaded.runner, engine_config(self._spec))
        self._loaded = True
        try:
            return self._serve(loaded, engine)
        except OSError:
            return EXIT_OK  # the socket closed: nobody is left to tell
        except Exception as error:
            logger.exception("the worker of %s failed", self._spec.name)
            self._outbox.send(engine.fail_all(f"the model's worker failed: {type(error).__name__}: {error}"))
            return EXIT_BROKEN
        finally:
            loaded.renderer.close()

    def _serve(self, loaded: LoadedModel, engine: Engine) -> int:
        prompts = PromptReader(loaded.model.vocab, loaded.renderer, loaded.sampling)
        n_kv_tokens = loaded.runner.n_ctx * loaded.runner.n_slots
        self._inbox.serve(Serving(prompts, engine, n_kv_tokens))
        gc.collect()
        gc.freeze()
        self._channel.send(Ready(loaded.info))
        step_s = 0.0
        while True:
            if self._take_work(engine) or engine.n_waiting or step_s > MERGE_S:
                self._outbox.flush()  # the next step may be long
            if self._drain_until_s is not None and not engine.has_work:
                return EXIT_OK
            if self._drain_until_s is not None and time.monotonic() >= self._drain_until_s:
                self._outbox.send(engine.fail_all(SHUTTING_DOWN, running_kind="unavailable"))
                return EXIT_OK
            start_s = time.monotonic()
            self._outbox.send(engine.step())
            step_s = time.monotonic() - start_s
            if engine.broken is not None:
                logger.error("the worker of %s ends: %s", self._spec.name, engine.broken.message)
                return EXIT_BROKEN
            if not engine.has_work:
                engine.check_integrity()

    def _take_work(self, engine: Engine) -> bool:
        """Hand on all that has come, waiting for it while there is nothing to do. Whether anything came."""
        work, came = self._inbox.work, False
        try:
            if not engine.has_work and self._drain_until_s is None:
                self._outbox.flush()
                self._hand_on(work.get(), engine)
                came = True
            while True:
                self._hand_on(work.get_nowait(), engine)
                came = True
        except queue.Empty:
            return came

    def _hand_on(self, message: Work, engine: Engine) -> None:
        if isinstance(message, EngineRequest):
            if self._drain_until_s is None:
                engine.submit(message)
            else:
                self._outbox.send([Failure(id=message.id, kind="unavailable", message=SHUTTING_DOWN)])
        elif isinstance(message, Cancel):
            engine.cancel(message.id)
        else:
            self._drain_until_s = time.monotonic() + message.grace_s


def engine_config(spec: ModelSpec) -> EngineConfig:
    return EngineConfig(
        queue_size=spec.queue_size,
        prefill_chunk_tokens=spec.prefill_chunk_tokens,
        prefill_tokens_alone=max(spec.n_ubatch, spec.prefill_chunk_tokens),
    )
