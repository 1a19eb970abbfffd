"""`AdapterSet`: the LoRA adapters that one worker has loaded, by id, and the requests that need them.

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

    def __init__(self, model: Model, *, refusal: str | None = None) -> None:
        """`refusal`: the message with which every adapter is refused; None: this kind of model takes them."""
        self._model = model
        self._refusal = refusal
        self._loaded: dict[int, Adapter] = {}
        self._samples: dict[int, bytes] = {}
        """Samples of the files, also of freed adapters: slots may still hold what was computed with them."""
        self._leaving: dict[int, list[str]] = {}
        """Ids to be unloaded, each with the ids of the calls that wait for it."""
        self._users: dict[str, Adapters] = {}
        self._context: Context | None = None
        self._in_use: Adapters = ()

    def load(self, spec: AdapterSpec) -> None:
        """Load an adapter; one that is loaded already is fine.

        Raises InvalidGGUF, ModelLoadError, StoreError.
        """
        if self._refusal is not None:
            raise ModelLoadError(self._refusal)
        if spec.id not in self._loaded:
            self._loaded[spec.id] = Adapter.load(self._model, Path(spec.path))
            self._samples[spec.id] = file_sample(Path(spec.path))

    def key(self, adapters: Adapters) -> bytes:
        """Return the same key for the same files and scales, whatever their ids are in this process.

        All must have been loaded once.
        """
        return adapters_key([(self._samples[adapter_id], scale) for adapter_id, scale in adapters])

    def use(self, context: Context, adapters: Adapters) -> None:
        """Make `adapters` those of the following decodes. Raises LlamaCppError if one isn't loaded."""
        try:
            loaded = [(self._loaded[adapter_id], scale) for adapter_id, scale in adapters]
        except KeyError as error:
            raise LlamaCppError(f"LoRA adapter {error.args[0]} is not loaded") from error
        set_adapters(context, loaded)
        self._context, self._in_use = context, adapters

    # --- who needs them ---

    def begin(self, request: EngineRequest) -> None:
        """Register a request that is about to be submitted. Raises RequestError if it names an adapter that
        isn't here."""
        for adapter_id, _ in request.adapters:
            if adapter_id not in self._loaded or adapter_id in self._leaving:
                raise RequestError(
                    f"LoRA adapter {adapter_id} is not loaded; GET /admin/adapters lists those that are",
                    param="lora",
                )
        if request.adapters:
            self._users[request.id] = request.adapters

    def note(self, events: Sequence[Event]) -> None:
        """Release the adapters of the requests that have ended, by the engine's `events`."""
        if self._users:
            for event in events:
                if isinstance(event, Finish | Failure):
                    self._users.pop(event.id, None)

    def leave(self, adapter_id: int, call_id: str) -> None:
        """Let no new request have an adapter; one that isn't here is fine. `free` reports when it is gone."""
        self._leaving.setdefault(adapter_id, []).append(call_id)

    def free(self) -> list[str]:
        """Free adapters that are leaving and that no request needs; return the calls that waited for it."""
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
