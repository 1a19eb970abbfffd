"""`AdapterService`: LoRA adapters come and go while models are served.

Loading goes through the running workers before the adapter is part of what new ones are started with: one
that llama.cpp dies of costs a restart, never the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from models.adapter_reference import AdapterRef
from models.errors import (
    CheckpointError,
    CorralError,
    InvalidGGUF,
    InvalidReference,
    LlamaCppError,
    RequestError,
)
from models.gguf.adapter_info import AdapterInfo, read_adapter_info
from models.gguf.info import read_gguf_info
from models.gguf.reader import read_gguf_file
from server.ipc.messages import LoadAdapter, UnloadAdapter
from server.ipc.model_spec import AdapterSpec
from server.supervisor.adapters.registry import AdapterRegistry, RegisteredAdapter
from server.supervisor.catalogue import CatalogueEntry

logger = logging.getLogger("corral.supervisor")

Prepare = Callable[[Path, Path], Path]
"""A `Prepare` returns the adapter's GGUF file for (the requested path, the base's file), and makes it if need
be. It blocks, and may run on any thread."""
AdapterMessage = LoadAdapter | UnloadAdapter
PEFT_CONFIG = "adapter_config.json"
"""A PEFT adapter's folder has this file."""


def gguf_only(path: Path, base: Path) -> Path:  # noqa: ARG001 - a converter's signature
    """Return `path` itself: for servers that have no converter. Raises CheckpointError for a folder."""
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder, and only GGUF adapters can be loaded here; give a .gguf file"
        )
    return path


class Workers(Protocol):
    """The part of the supervisor that the adapter service needs."""

    def base_of(self, name: str) -> CatalogueEntry:
        """Return the file that serves a name, be it with an adapter. Raises ModelNotFound."""

    async def broadcast(self, model: str, message: Callable[[str], AdapterMessage]) -> None:
        """Send the message to each worker of the model that is loaded, or loads, and await the replies.

        Raises the first worker's refusal, and WorkerDied.
        """


class AdapterService:
    """Loads and unloads adapters while models run; belongs to the event loop. `prepare` runs in a thread."""

    def __init__(self, workers: Workers, registry: AdapterRegistry, prepare: Prepare = gguf_only) -> None:
        self._workers = workers
        self._registry = registry
        self._prepare = prepare
        self._changing = asyncio.Lock()

    def list(self, model: str | None = None) -> list[RegisteredAdapter]:
        """Return all adapters, or those of one model (by any of its names)."""
        return self._registry.all(None if model is None else self._workers.base_of(model).name)

    def get(self, adapter_id: int) -> RegisteredAdapter:
        """Return an adapter. Raises AdapterNotFound."""
        return self._registry.get(adapter_id)

    async def add(self, model: str, path: str, name: str | None, scale: float) -> RegisteredAdapter:
        """Load an adapter for a model into its running workers, and into those to come.

        Raises RequestError with the fault, ModelNotFound, WorkerError; nothing has changed then. Where there
        is no adapter at the path the answer is the same, whatever is there: a client can't find out which
        files this machine has. The log has the reason.
        """
        entry = self._workers.base_of(model)
        ref = _reference(path, name, scale)
        fault = await asyncio.to_thread(adapter_fault, ref.path)
        if fault is not None:
            # Quoted: the path is a client's, and may have line breaks.
            logger.warning("no LoRA adapter was loaded from %.300r: %.300r", str(ref.path), fault)
            raise RequestError(
                f"there is no adapter at {path!r:.300}: it is neither a .gguf file nor a PEFT adapter's"
                " folder that can be read, or no valid GGUF of an adapter; the server's log has the reason",
                param="path",
            )
        info = await asyncio.to_thread(prepare_adapter, ref, entry.path, self._prepare)
        async with self._changing:
            adapter = self._registry.add(entry.name, ref, info, int(time.time()), visible=False)
            try:
                await self._load(adapter)
            except BaseException:  # one that can't be loaded isn't listed; a cancelled one, too
                self._registry.remove(adapter.id)
                raise
            self._registry.show(adapter.id)
            with contextlib.suppress(CorralError):
                await self._load(adapter)  # into workers that have begun meanwhile
        logger.info("LoRA adapter %d, %s, is ready: %s", adapter.id, adapter.full_name, adapter.path)
        return self._registry.get(adapter.id)

    async def remove(self, adapter_id: int) -> RegisteredAdapter:
        """Refuse the adapter to new requests at once; return when the last user has ended and it is freed.

        Raises AdapterNotFound.
        """
        adapter = self._registry.get(adapter_id)
        self._registry.remove(adapter_id)
        try:
            await self._workers.broadcast(adapter.model, lambda call: UnloadAdapter(call, adapter_id))
        except CorralError as error:
            logger.warning("LoRA adapter %d is off; its memory isn't free yet: %s", adapter_id, error.message)
        return adapter

    def set_scales(self, model: str, scales: Mapping[int, float]) -> None:
        """Set a model's default scales; adapters not named are off. Raises RequestError, ModelNotFound."""
        self._registry.set_scales(self._workers.base_of(model).name, scales)

    async def _load(self, adapter: RegisteredAdapter) -> None:
        spec = AdapterSpec(adapter.id, str(adapter.file))
        await self._workers.broadcast(adapter.model, lambda call: LoadAdapter(call, spec))


def prepare_adapter(ref: AdapterRef, base: Path, prepare: Prepare) -> AdapterInfo:
    """Convert the adapter if need be, check it against its base, return its facts. It blocks.

    Raises RequestError.
    """
    try:
        file = prepare(ref.path, base)
        return read_adapter_info(file, read_gguf_info(base))
    except (InvalidGGUF, CheckpointError, LlamaCppError) as error:
        raise RequestError(error.message, param="path") from error


def _reference(path: str, name: str | None, scale: float) -> AdapterRef:
    """Return the reference to an adapter, without a look at the disk. Raises RequestError."""
    try:
        return AdapterRef.unchecked(Path(path), name, scale)
    except InvalidReference as error:
        raise RequestError(error.message, param="path" if name is None else None) from error


def adapter_fault(path: Path) -> str | None:
    """Return the reason why there is no adapter at `path`; None for a GGUF adapter and for a PEFT folder.

    Of a file that isn't called .gguf nothing is read.
    """
    try:
        if path.is_dir():
            with (path / PEFT_CONFIG).open("rb"):
                return None
        if path.suffix.lower() != ".gguf":
            return "it is no .gguf file"
        if not path.is_file():
            return "it is no file"
        kind = read_gguf_file(path).metadata.get("general.type")
    except (InvalidGGUF, OSError, ValueError) as error:
        return str(error)
    return None if kind == "adapter" else f"its general.type is {kind!r:.80} instead of 'adapter'"
