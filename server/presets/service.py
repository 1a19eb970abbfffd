"""`PresetService`: a model service that also knows the presets, by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from models.errors import RequestError
from server.ipc.messages import Generate, Question, SlotsReply, StatsReply, Work
from server.metrics.origin import current_origin
from server.presets.book import PresetBook
from server.presets.table import Preset
from server.supervisor.adapters.registry import RegisteredAdapter
from server.supervisor.protocol import EventSource, ModelService, ModelStatus
from server.supervisor.service_layer import ServiceLayer

R = TypeVar("R")


class PresetService(ServiceLayer):
    """A `ModelService` around another one, which finds presets, too; `models` are the models alone.

    What was chosen when a request was read is in its origin, and holds for all that is done for it, whatever
    the book says by then.
    """

    def __init__(
        self, service: ModelService, book: PresetBook, adapters: Callable[[], list[RegisteredAdapter]]
    ) -> None:
        super().__init__(service)
        self._book = book
        self._adapters = adapters

    # --- ModelService ---

    def find(self, name: str) -> ModelStatus:
        preset = self._book.table.find(name)
        if preset is not None:
            return self._status(preset)
        model = self._model_of(name)
        status = super().find(model)
        return status if model == name else _renamed(status, name, model)

    def generate(self, name: str, request: Work) -> EventSource:
        return super().generate(self._model_of(name), self._with_adapters(name, request))

    async def ask(
        self,
        name: str,
        question: Question,
        reply_type: type[R],
        on_part: Callable[[R], None] | None = None,
    ) -> R:
        return await super().ask(self._model_of(name), question, reply_type, on_part)

    async def stats(self, name: str) -> StatsReply:
        return await super().stats(self._model_of(name))

    async def slots(self, name: str) -> SlotsReply:
        return await super().slots(self._model_of(name))

    # --- inside ---

    def _model_of(self, name: str) -> str:
        """Return the name of the model that serves a name in this request."""
        choice = current_origin().choice
        if choice is not None and choice.preset == name:
            return choice.model
        return self._book.model_of(name)

    def _status(self, preset: Preset) -> ModelStatus:
        """Return the preset's status: that of its main model, and the shortest context of all of them."""
        choice = current_origin().choice
        chosen = choice is not None and choice.preset == preset.name
        model = choice.model if choice is not None and chosen else preset.main.model
        status = super().find(model)
        contexts = [super(PresetService, self).find(target.model).n_ctx for target in preset.targets]
        known = [n_ctx for n_ctx in contexts if n_ctx is not None]
        n_ctx = min(known) if len(known) == len(contexts) and not chosen else status.n_ctx
        return msgspec.structs.replace(_renamed(status, preset.name, model), n_ctx=n_ctx)

    def _with_adapters(self, name: str, request: Work) -> Work:
        choice = current_origin().choice
        if (
            choice is None
            or choice.preset != name
            or not choice.adapters
            or not isinstance(request, Generate)
        ):
            return request
        model = choice.model
        known = {
            adapter.name: adapter.id
            for adapter in self._adapters()
            if model == adapter.model or model.startswith(f"{adapter.model}:")
        }
        for adapter in choice.adapters:
            if adapter not in known:
                raise RequestError(
                    f"the preset '{name}' has the LoRA adapter '{adapter}', and there is none of that name"
                    f" for {model} now; GET /admin/adapters lists those there are",
                    param="model",
                    code="adapter_not_found",
                )
        chosen = tuple((known[adapter], scale) for adapter, scale in choice.adapters.items() if scale)
        return msgspec.structs.replace(request, adapters=chosen)


def _renamed(status: ModelStatus, name: str, model: str) -> ModelStatus:
    return msgspec.structs.replace(status, name=name, parent=model, served=False)
