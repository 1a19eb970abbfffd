"""`Worker`: it loads a model, takes requests from the inbox, steps the engine, sends its events."""

from __future__ import annotations

import gc
import logging
import queue
import time
from collections.abc import Callable

from models.errors import CorralError, RequestError, StoreError
from server.engine.engine import Engine, EngineConfig
from server.engine.event_factory import error_failure
from server.engine.events import WORKER_DIED, Failure, FailureKind
from server.engine.patience import StepWatch
from server.engine.request import EngineRequest
from server.engine.scheduling.prompt_budget import CHUNK_MULTIPLE, PANEL_CHUNK
from server.engine.speculation.step_cost import StepCost
from server.ipc.messages import (
    AdapterReply,
    Cancel,
    ChangeSlot,
    Drain,
    LoadAdapter,
    LoadFailed,
    Loading,
    Ready,
    Slots,
    SlotsReply,
    UnloadAdapter,
)
from server.ipc.model_spec import KernelReport, ModelSpec
from server.ipc.pulse import Pulse
from server.worker.adapter_set import AdapterSet
from server.worker.channel import Channel
from server.worker.inbox import SHUTTING_DOWN, AnyEngine, Inbox, Serving, Work, exit_at_once
from server.worker.open.loading import load
from server.worker.open.parts import LoadedModel
from server.worker.outbox import MERGE_S, Outbox
from server.worker.pooled.engine import PooledEngine
from server.worker.pooled.request import PooledRequest
from server.worker.pooled.runner import PooledRunner
from server.worker.prefix.open import save_leftovers
from server.worker.run.context_decoder import DecodeListener
from server.worker.slot_files import ReadSlot, SlotChanges

logger = logging.getLogger("corral.worker")

EXIT_OK = 0
EXIT_BROKEN = 1
EXIT_LOAD_FAILED = 3
"""Exit statuses of a worker process: it was drained, its model failed while serving, or it didn't load."""

GC_THRESHOLDS = (20_000, 20, 50)
"""The garbage collector's thresholds are high: nothing in a step makes cycles."""

IDLE_S = 0.5
"""After so many seconds without a request the worker makes ready for the first one with tools."""

DRAIN_POLL_S = 0.05
"""While it drains, the worker looks this often for requests that are still being prepared."""


Load = Callable[[ModelSpec, Callable[[float], None], DecodeListener], LoadedModel]
"""Makes a spec a model that is ready; see `loading.load`."""


class Worker:
    """Serves one model over a channel. Everything belongs to the thread that calls `run`."""

    def __init__(
        self, channel: Channel, spec: ModelSpec, load: Load = load, pulse: Pulse | None = None
    ) -> None:
        """`pulse` shows the supervisor what the engine is at; None: nobody looks."""
        self._load = load
        self._pulse = Pulse() if pulse is None else pulse
        self._channel = channel
        self._spec = spec
        self._inbox = Inbox(channel, exit_at_once, self._pulse)
        self._drain_until_s: float | None = None
        self._loaded = False
        self._made_ready = False
        self._outbox = Outbox(channel)
        self._slot_changes = SlotChanges(channel, self._inbox.work.put)

    def drain(self, grace_s: float) -> None:
        """Act as if a `Drain` had come; safe in a signal handler."""
        if self._loaded:
            self._inbox.work.put(Drain(grace_s=grace_s))
        else:
            exit_at_once()

    def run(self) -> int:
        """Load and serve until drained; return the exit status. The only broad except is here."""
        self._inbox.start()
        self._pulse.busy()
        try:
            loaded = self._load(self._spec, self._report_progress, self._outbox)
        except CorralError as error:
            if error.public != error.message:
                logger.error("%s can't be loaded: %s", self._spec.name, error.message)  # noqa: TRY400 - it says all
            self._channel.send(LoadFailed(error.public, type(error).__name__))
            return EXIT_LOAD_FAILED
        engine = open_engine(self._spec, loaded, self._pulse)
        self._loaded = True
        try:
            return self._serve_and_save(loaded, engine)
        except ConnectionError:
            return EXIT_OK  # the socket closed: nobody is left to hear
        except Exception as error:  # the worker's top: requests hear of a defect
            logger.exception("the worker of %s failed", self._spec.name)
            self._fail_all(
                engine, f"the model's worker failed: {type(error).__name__}: {error}", "server_error"
            )
            return EXIT_BROKEN
        finally:
            loaded.prompts.close()
            loaded.renderer.close()

    def _serve_and_save(self, loaded: LoadedModel, engine: AnyEngine) -> int:
        """Serve until drained, then keep the prefixes worth keeping."""
        status = self._serve(loaded, engine)
        self._outbox.flush()
        self._inbox.send_last_stats()
        if (
            status == EXIT_OK
            and loaded.prefixes is not None
            and isinstance(engine, Engine)
            and not isinstance(loaded.runner, PooledRunner)
        ):
            grace_end_s = self._drain_until_s or time.monotonic()
            save_leftovers(engine, loaded.runner, loaded.prefixes, grace_end_s)
        return status

    def _report_progress(self, progress: float) -> None:
        self._pulse.busy()
        self._channel.send(Loading(progress))

    def _serve(self, loaded: LoadedModel, engine: AnyEngine) -> int:
        n_kv_tokens = loaded.runner.n_ctx * loaded.runner.n_slots
        self._slot_changes.open(loaded.slot_files)
        self._inbox.serve(Serving(loaded.prompts, engine, n_kv_tokens, loaded.pooled, loaded.prompts.images))
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._channel.send(Ready(loaded.info))
        while True:
            self._pulse.busy()
            if self._take_work(engine, loaded.adapters):
                self._outbox.flush()  # the next step may be long
            elif not engine.has_work:
                self._make_ready(loaded)
            self._slot_changes.settle(engine)
            if self._drain_until_s is not None and not engine.has_work and self._inbox.is_empty:
                return EXIT_OK
            if self._drain_until_s is not None and time.monotonic() >= self._drain_until_s:
                self._fail_all(engine, SHUTTING_DOWN, "unavailable")
                return EXIT_OK
            start_s = time.monotonic()
            events = engine.step()
            step_s = time.monotonic() - start_s
            self._outbox.send(events, quick=step_s < MERGE_S and not engine.n_waiting)
            loaded.adapters.note(events)
            self._report_freed(loaded.adapters)
            if engine.fatal_error is not None:
                logger.error("the worker of %s ends: %s", self._spec.name, engine.fatal_error.message)
                return EXIT_BROKEN
            if not engine.has_work:
                engine.check_integrity()

    def _fail_all(self, engine: AnyEngine, message: str, kind: FailureKind) -> None:
        """End every request: `kind` is for those that run, the others are to be sent again."""
        self._inbox.shut()
        events = engine.fail_all(message, running_kind=kind)
        code = WORKER_DIED if kind == "server_error" else None
        events += [
            Failure(id=request_id, kind="unavailable", message=message, code=code)
            for request_id in self._inbox.take_unserved()
        ]
        self._outbox.send(events)

    def _take_work(self, engine: AnyEngine, adapters: AdapterSet) -> bool:
        """Hand on all that has come, waiting for it while there is nothing to do; True if anything came."""
        work, came = self._inbox.work, False
        try:
            if not engine.has_work and not (self._drain_until_s is not None and self._inbox.is_empty):
                self._outbox.flush()
                self._pulse.rest()
                message = work.get(timeout=self._wait_s)
                self._pulse.busy()
                self._hand_on(message, engine, adapters)
                came = True
            while True:
                self._hand_on(work.get_nowait(), engine, adapters)
                came = True
        except queue.Empty:
            return came

    @property
    def _wait_s(self) -> float | None:
        """The seconds for which it waits for work; None: for ever."""
        if self._drain_until_s is not None:
            return DRAIN_POLL_S
        return None if self._made_ready else IDLE_S

    def _make_ready(self, loaded: LoadedModel) -> None:
        """Do what the first request with tools would wait for: nothing has come for a moment."""
        if not self._made_ready and self._drain_until_s is None:
            self._made_ready = True
            loaded.prompts.open()

    def _hand_on(self, message: Work, engine: AnyEngine, adapters: AdapterSet) -> None:
        match message:
            case EngineRequest() if isinstance(engine, Engine):
                self._submit(message, engine, adapters)
            case PooledRequest() if isinstance(engine, PooledEngine):
                engine.submit(message)
            case Cancel():
                engine.cancel(message.id)
            case Slots():
                self._channel.send(SlotsReply(message.id, engine.slot_states()))
            case ChangeSlot() | ReadSlot():
                self._slot_changes.take(message, engine)
            case LoadAdapter():
                self._load_adapter(message, adapters)
            case UnloadAdapter():
                adapters.leave(message.adapter_id, message.id)
                self._report_freed(adapters)
            case Drain():
                self._inbox.shut()
                self._drain_until_s = time.monotonic() + message.grace_s

    def _submit(self, request: EngineRequest, engine: Engine, adapters: AdapterSet) -> None:
        try:
            adapters.begin(request)
        except RequestError as error:
            self._outbox.send([error_failure(request.id, error)])
        else:
            engine.submit(request)

    def _load_adapter(self, message: LoadAdapter, adapters: AdapterSet) -> None:
        try:
            adapters.load(message.adapter)
        except CorralError as error:
            if isinstance(error, StoreError):
                logger.error("an adapter can't be loaded: %s", error.message)  # noqa: TRY400 - it says all
                self._channel.send(error_failure(message.id, error))
                return
            refused = Failure(id=message.id, kind="invalid_request", message=error.message, param="path")
            self._channel.send(refused)
        else:
            self._channel.send(AdapterReply(message.id))

    def _report_freed(self, adapters: AdapterSet) -> None:
        for call_id in adapters.free():
            self._channel.send(AdapterReply(call_id))


def open_engine(spec: ModelSpec, loaded: LoadedModel, watch: StepWatch) -> AnyEngine:
    """Return the engine of the model's kind, which tells `watch` of each step."""
    if isinstance(loaded.runner, PooledRunner):
        return PooledEngine(loaded.runner, spec.options.queue_size, watch=watch)
    return Engine(
        loaded.runner,
        engine_config(spec, loaded.info.kernels, loaded.checkpoint_bytes),
        speculation=loaded.speculation,
        prefixes=loaded.prefixes,
        step_cost=StepCost(loaded.step_times),
        watch=watch,
    )


def engine_config(spec: ModelSpec, kernels: KernelReport, checkpoint_bytes: int = 0) -> EngineConfig:
    """Return the engine's limits: the user's, and those that suit the matrix kernels in use.

    `checkpoint_bytes`: as `Placement` has them.
    """
    return EngineConfig(
        chunk_multiple=PANEL_CHUNK if kernels.by == "corral" else CHUNK_MULTIPLE,
        queue_size=spec.options.queue_size,
        prefill_chunk_tokens=spec.options.prefill_chunk_tokens,
        prefill_tokens_alone=max(spec.options.n_ubatch, spec.options.prefill_chunk_tokens),
        gap_s=spec.options.gap_ms / 1e3,
        loop_tokens=spec.options.loop_guard,
        checkpoint_tokens=spec.options.checkpoint_tokens,
        checkpoint_bytes=checkpoint_bytes,
    )
