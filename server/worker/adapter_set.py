"""`AdapterSet`: the LoRA adapters that one worker has loaded, by their ids, and who still needs them.

The supervisor knows names and defaults; here is only what llama.cpp needs. Everything belongs to the engine's
thread: llama.cpp reads the model's adapters whenever it plans a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.errors import LlamaCppError, ModelLoadError, RequestError
from models.llamacpp.context import Context
from models.llamacpp.lora import Adapter, set_adapters
from models.llamacpp.model import Model
from server.engine.batch import Adapters
from server.engine.events import Event, Failure, Finish
from server.engine.request import EngineRequest
from server.ipc.model_spec import AdapterSpec
from server.worker.prefix.key import adapters_key, file_sample


class AdapterSet:
    """An `AdapterSwitch`. No id is ever used for a second adapter: it means the same weights always."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._loaded: dict[int, Adapter] = {}
        self._samples: dict[int, bytes] = {}
        """Of the files, those of freed adapters too: slots may still hold what was computed with them."""
        self._leaving: dict[int, list[str]] = {}
        """Ids to be unloaded, each with the ids of the calls that wait for it."""
        self._users: dict[str, Adapters] = {}
        self._context: Context | None = None
        self._in_use: Adapters = ()

    def load(self, spec: AdapterSpec) -> None:
        """Load an adapter; one that is loaded already is fine.

        Raises InvalidGGUF, ModelLoadError, StoreError.
        """
        if self._model.has_encoder:
            raise ModelLoadError(
                f"{self._model.path.name} has an encoder: LoRA adapters are for decoder models;"
                " merge it when quantizing, with --lora"
            )
        if spec.id not in self._loaded:
            self._loaded[spec.id] = Adapter.load(self._model, Path(spec.path))
            self._samples[spec.id] = file_sample(Path(spec.path))

    def key(self, adapters: Adapters) -> bytes:
        """The same for the same files and scales, whatever their ids are in this process. All must have been
        loaded once."""
        return adapters_key([(self._samples[adapter_id], scale) for adapter_id, scale in adapters])

    def use(self, context: Context, adapters: Adapters) -> None:
        try:
            chosen = [(self._loaded[adapter_id], scale) for adapter_id, scale in adapters]
        except KeyError as error:
            raise LlamaCppError(f"LoRA adapter {error.args[0]} is not loaded") from error
        set_adapters(context, chosen)
        self._context, self._in_use = context, adapters

    # --- who needs them ---

    def begin(self, request: EngineRequest) -> None:
        """A request is about to be submitted. Raises RequestError if it names an adapter that isn't here."""
        for adapter_id, _ in request.adapters:
            if adapter_id not in self._loaded or adapter_id in self._leaving:
                raise RequestError(
                    f"LoRA adapter {adapter_id} is not loaded; GET /admin/adapters lists those that are",
                    param="lora",
                )
        if request.adapters:
            self._users[request.id] = request.adapters

    def note(self, events: Sequence[Event]) -> None:
        """What the engine told: requests that have ended need their adapters no more."""
        if self._users:
            for event in events:
                if isinstance(event, Finish | Failure):
                    self._users.pop(event.id, None)

    def leave(self, adapter_id: int, call_id: str) -> None:
        """Let no new request have it; one that isn't here is fine. `free` tells when it is gone."""
        self._leaving.setdefault(adapter_id, []).append(call_id)

    def free(self) -> list[str]:
        """Free those that are leaving and that no request needs; the calls that waited for it."""
        if not self._leaving:
            return []
        needed = {adapter_id for adapters in self._users.values() for adapter_id, _ in adapters}
        done: list[str] = []
        for adapter_id in self._leaving.keys() - needed:
            if self._context is not None and any(adapter_id == used for used, _ in self._in_use):
                self.use(self._context, ())
            if (adapter := self._loaded.pop(adapter_id, None)) is not None:
                adapter.close()
            done += self._leaving.pop(adapter_id)
        return done
