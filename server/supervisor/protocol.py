"""The HTTP side's view of the supervisor: `ModelService`, and `EventSource`, a request's events.

Types only. The supervisor is a `ModelService`; tests script another. Errors are those of `models.errors`,
raised before the first event; once events flow, a request that fails ends with a `Failure` event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from models.pooling import ModelKind
from server.engine.events import Event
from server.ipc.messages import Question, SlotsReply, StatsReply, Work
from server.ipc.model_spec import ModelInfo
from server.metrics.figures import FigureBook
from server.metrics.samples import WorkerSample

R = TypeVar("R")

ModelState = Literal["available", "loading", "ready", "restarting", "failed", "unloading"]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One model that requests may name."""

    name: str
    """The name for requests: `org/name`, `demo`; a client may add `:TYPE`."""
    state: ModelState
    created: int
    """The time at which the file was made, in Unix seconds."""
    type: str | None = None
    """The quantization type of the file that serves the plain name (`Q4_K_M`)."""
    progress: float | None = None
    """The progress of loading, 0 to 1."""
    info: ModelInfo | None = None
    """The worker's facts about the model, known once it has been loaded."""
    n_ctx: int | None = None
    """The context of one request in tokens: the worker's, or what it will be; None while it isn't known."""
    kind: ModelKind | None = None
    """The model makes this of a text; None while it isn't known."""
    sees_images: bool = False
    """True if it is, or will be, served with a projector."""
    problem: str | None = None
    """The reason for its failure or restart, in one line."""
    served: bool = False
    """True if the server was started with it. A request that names no model gets the first such one."""
    parent: str | None = None
    """The name of the plain model, where this one is it with a LoRA adapter."""


class EventListener(Protocol):
    """One stop of an answer's way: the answer itself, or a step before it, which calls the next listener.

    No task wakes between the worker's socket and the client's: each event passes all stops in one call.
    """

    def on_event(self, event: Event) -> None:
        """Take one event, in the call that brings it from the worker; it can't wait.

        An error ends the request: `subscribe` raises it.
        """

    async def drained(self) -> None:
        """Return when the events so far have left; a source of many requests waits so before the next."""


@runtime_checkable
class FrameListener(EventListener, Protocol):
    """A listener that sends events on to another process: it may have them as the worker encoded them."""

    def on_frame(self, payload: bytes) -> None:
        """Take the payload of a `StepEvents`, behind all events so far. Raises nothing."""


class EventSource(Protocol):
    """One request's events."""

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request once: `listener` gets each event, to one `Finish` or `Failure`; then return.

        Cancelling this cancels the request, also while the model is still loading. Raises before the first
        event ModelNotFound, WorkerBusy (queue full), WorkerDied and RequestError (a `Failure` as the only
        event means the same); and at any time what `listener` raises.
        """


class ModelService(Protocol):
    """Serves requests for named models. Every method is called on the API process's event loop.

    `name` is the client's (`name` or `name:TYPE`). A known model that isn't loaded is loaded by `generate`
    and `ask`. Both, and `find`, raise ModelNotFound for an unknown name; those that need a worker raise
    WorkerDied when it died and ModelLoadError (or the like) when it can't be loaded.
    """

    figures: FigureBook
    """All that is counted of requests and workers."""

    def models(self) -> list[ModelStatus]:
        """Return every model that requests may name, in a stable order; those served come first."""

    def find(self, name: str) -> ModelStatus:
        """Return the model by that name, in whatever state. Raises ModelNotFound."""

    def ready(self) -> bool:
        """True once every model to be served from the start is loaded and warm."""

    def impediment(self) -> str | None:
        """Return what keeps it from being ready beside its models, as a sentence without a full stop."""

    def generate(self, name: str, request: Work) -> EventSource:
        """Return the events of one request, which begins when they are subscribed to.

        `request.id` is unique among those running. Raises what the name or the request itself forbids.
        """

    async def ask(
        self,
        name: str,
        question: Question,
        reply_type: type[R],
        on_part: Callable[[R], None] | None = None,
    ) -> R:
        """Return the worker's reply to a question that needs no engine step. Its `id` is filled in here.

        `on_part` gets each part of a long reply but the last, which is returned; without it the parts are
        returned as one.
        """

    async def stats(self, name: str) -> StatsReply:
        """Return the counters of a loaded model's worker; raises WorkerError where none is loaded."""

    async def slots(self, name: str) -> SlotsReply:
        """Return what the slots of a loaded model do; raises WorkerError where none is loaded."""

    async def samples(self, timeout_s: float) -> list[WorkerSample]:
        """Return each model's state and its worker's counters, asked now, for at most `timeout_s` seconds."""
