"""`AdapterRegistry`: the LoRA adapters of all models, with names and default scales. Pure.

An adapter belongs to a model's name, not to one of its files: it fits every type of the model. Ids count up
over all models and are never used twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import msgspec

from models.adapter_reference import DEFAULT_SCALE, AdapterRef
from models.errors import AdapterNotFound, RequestError
from models.gguf.adapter_info import AdapterInfo
from server.engine.batch import Adapters
from server.ipc.model_spec import AdapterSpec


class RegisteredAdapter(msgspec.Struct, frozen=True, kw_only=True):
    """One adapter: `path` was requested, `file` is the GGUF file that is loaded; `scale` 0 is off."""

    id: int
    name: str
    model: str
    path: Path
    file: Path
    scale: float
    alpha: float | None
    rank: int
    size_bytes: int
    created: int
    """The adapter was registered at this time, in Unix seconds."""
    visible: bool = False
    """Requests and new workers may use it only if true: not before every running worker has loaded it."""

    @property
    def full_name(self) -> str:
        """The name by which a client requests the model with this adapter."""
        return f"{self.model}:{self.name}"


class AdapterRegistry:
    """All adapters by id."""

    def __init__(self) -> None:
        self._adapters: dict[int, RegisteredAdapter] = {}
        self._ids = itertools.count()

    def add(
        self, model: str, ref: AdapterRef, info: AdapterInfo, created: int, *, visible: bool
    ) -> RegisteredAdapter:
        """Register an adapter under a new id. Raises RequestError if the model has one of that name."""
        if any(other.model == model and other.name == ref.name for other in self._adapters.values()):
            raise RequestError(
                f"the model {model} has an adapter {ref.name} already; choose another name or DELETE it",
                param="name",
            )
        adapter = RegisteredAdapter(
            id=next(self._ids),
            name=ref.name,
            model=model,
            path=ref.path,
            file=info.path,
            scale=ref.scale,
            alpha=info.alpha,
            rank=info.rank,
            size_bytes=info.size_bytes,
            created=created,
            visible=visible,
        )
        self._adapters[adapter.id] = adapter
        return adapter

    @property
    def is_empty(self) -> bool:
        """True if no model has an adapter, visible or not."""
        return not self._adapters

    def show(self, adapter_id: int) -> None:
        """Let requests and new workers use an adapter; one that was removed stays removed."""
        if adapter_id in self._adapters:
            self._change(adapter_id, visible=True)

    def remove(self, adapter_id: int) -> None:
        """Forget an adapter; an unknown id is fine."""
        self._adapters.pop(adapter_id, None)

    def get(self, adapter_id: int) -> RegisteredAdapter:
        """Return a visible adapter. Raises AdapterNotFound."""
        adapter = self._adapters.get(adapter_id)
        if adapter is None or not adapter.visible:
            raise AdapterNotFound(
                f"there is no LoRA adapter {adapter_id}; GET /admin/adapters lists those there are"
            )
        return adapter

    def all(self, model: str | None = None) -> list[RegisteredAdapter]:
        """Return the visible adapters, of one model or all, by id."""
        return [a for a in self._adapters.values() if a.visible and model in (None, a.model)]

    def find(self, model: str, name: str) -> RegisteredAdapter | None:
        """Return the visible adapter of that name, or None."""
        return next((adapter for adapter in self.all(model) if adapter.name == name), None)

    def set_scales(self, model: str, scales: Mapping[int, float]) -> None:
        """Set a model's default scales; adapters not named are off, as with llama-server.

        Raises RequestError for an unknown id; nothing has changed then.
        """
        for adapter_id in scales:
            self._check(model, adapter_id, "id")
        for adapter in self.all(model):
            self._change(adapter.id, scale=scales.get(adapter.id, 0.0))

    # --- for workers and requests ---------------------------------------------------------------------------

    def specs(self, model: str) -> tuple[AdapterSpec, ...]:
        """Return the adapters that a worker of that model is started with."""
        adapters = self._adapters.values()
        return tuple(AdapterSpec(a.id, str(a.file)) for a in adapters if a.visible and a.model == model)

    def select(self, model: str, adapter: RegisteredAdapter | None, wanted: Adapters | None) -> Adapters:
        """Return the adapters of a request: `wanted` as it is, else `adapter` alone, else the defaults.

        Raises RequestError, naming `lora`, for an adapter that the model doesn't have.
        """
        if wanted is not None:
            for adapter_id, _ in wanted:
                self._check(model, adapter_id, "lora")
            return wanted
        if adapter is not None:
            return ((adapter.id, adapter.scale or DEFAULT_SCALE),)
        if not self._adapters:
            return ()
        return tuple((a.id, a.scale) for a in self.all(model) if a.scale)

    def names(self, adapters: Adapters) -> tuple[str, ...]:
        """Return the full names of a request's adapters, each once."""
        return tuple({self._adapters[adapter_id].full_name: None for adapter_id, _ in adapters})

    def _check(self, model: str, adapter_id: int, param: str) -> None:
        adapter = self._adapters.get(adapter_id)
        if adapter is None or not adapter.visible or adapter.model != model:
            known = ", ".join(f"{a.id} ({a.name})" for a in self.all(model)[:20]) or "none"
            raise RequestError(
                f"the model {model} has no LoRA adapter {adapter_id}; it has {known}", param=param
            )

    def _change(self, adapter_id: int, **changes: object) -> None:
        self._adapters[adapter_id] = msgspec.structs.replace(self._adapters[adapter_id], **changes)
