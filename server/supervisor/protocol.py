"""What the HTTP side asks of whoever runs the models: `ModelService`. The supervisor is one; tests script
another.

Types only. Errors are those of `models.errors`, raised before the first event; once events flow, a request
that fails ends with a `Failure` event.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol, runtime_checkable

import msgspec

from server.engine.events import Event
from server.ipc.messages import (
    ApplyTemplateReply,
    ChatPrompt,
    DetokenizeReply,
    Generate,
    StatsReply,
    TokenizeReply,
)
from server.ipc.model_spec import ModelInfo

ModelState = Literal["available", "loading", "ready", "restarting", "failed", "unloading"]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One model that can be asked for."""

    name: str
    """The name to ask for: `org/name`, `demo`; a client may add `:TYPE`."""
    state: ModelState
    created: int
    """Unix seconds: when the file was made."""
    type: str | None = None
    """Quantization type of the file that serves the plain name (`Q4_K_M`)."""
    progress: float | None = None
    """Of loading, 0 to 1."""
    info: ModelInfo | None = None
    """Known once the model has been loaded."""
    problem: str | None = None
    """Why it failed or restarts, in one line."""
    parent: str | None = None
    """The model that this one is with a LoRA adapter."""


@runtime_checkable
class Listenable(Protocol):
    """Events that can be had without waking a task for each of them."""

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each event that is left, ending with the terminal one, in the call that brings
        it. Once, after the first event was taken by iteration, and in place of taking more so. `listener`
        must not raise.
        """


class ModelService(Protocol):
    """Serves requests for named models. Every method is called on the API process's event loop.

    `name` is what the client wrote (`name` or `name:TYPE`). A known model that isn't loaded is loaded by
    `generate`, `tokenize`, `detokenize` and `apply_template`. All of them, and `find`, raise ModelNotFound
    for an unknown name; those that need a worker raise WorkerDied when it died and ModelLoadError (or the
    like) when it can't be loaded.
    """

    def models(self) -> list[ModelStatus]:
        """Every model that can be asked for, in a stable order; those served come first."""

    def find(self, name: str) -> ModelStatus:
        """The model by that name, in whatever state. Raises ModelNotFound."""

    def ready(self) -> bool:
        """True once every model to be served from the start is loaded and warm."""

    def generate(self, name: str, request: Generate) -> AsyncIterator[Event]:
        """Events of one request, ending with exactly one `Finish` or `Failure`.

        `request.id` is unique among those running. Closing the iterator (`aclose`) cancels the request, also
        while the model is still loading. Raises before the first event: ModelNotFound, WorkerBusy (queue
        full), WorkerDied and RequestError; or yields a `Failure` as the only event, which means the same.
        It may be a `Listenable` too.
        """

    async def tokenize(
        self, name: str, text: str, *, add_special: bool, parse_special: bool, with_pieces: bool
    ) -> TokenizeReply: ...

    async def detokenize(self, name: str, tokens: tuple[int, ...]) -> DetokenizeReply: ...

    async def apply_template(self, name: str, prompt: ChatPrompt) -> ApplyTemplateReply: ...

    async def stats(self, name: str) -> StatsReply:
        """Counters of a loaded model's worker; never loads one (raises WorkerError if it isn't loaded)."""
