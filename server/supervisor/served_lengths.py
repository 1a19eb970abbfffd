"""`ServedLengths`: each model's context and kind, decided once and told before the model is loaded.

What fits depends on the memory that is free when it is asked for. So that a client may believe what it was
told before a model was loaded, a worker never chooses more than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import CorralError
from models.gguf.info import read_gguf_info
from models.machine.hardware import probe_devices
from models.machine.host_memory import memory
from models.pooling import ModelKind, kind_of
from server.ipc.model_spec import ModelSpec
from server.placement.facts import FreeMemory
from server.placement.place import place
from server.placement.read_facts import read_facts
from server.supervisor.catalogue import CatalogueEntry

logger = logging.getLogger("corral.supervisor")

PROBE_TIMEOUT_S = 20.0
"""A child process that lists the devices gets this many seconds."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The facts of a file that clients are told before it is loaded: its context in tokens, and its kind."""

    n_ctx: int
    kind: ModelKind = "text"


Lengths = dict[str, FileFacts]
"""The facts by the path of a model's file."""


def no_lengths(_specs: list[ModelSpec]) -> Lengths:
    """Return nothing: for servers that tell a length only once a worker knows it."""
    return {}


def lengths_now(specs: list[ModelSpec]) -> Lengths:
    """Return the contexts that workers started now would choose, and kinds; none of a file that is damaged.

    None either of a split model whose context isn't set, as only its worker asks the servers. Blocks while
    files are read and a child lists the devices.
    """
    wants_devices = any(spec.options.gpu_layers != 0 for spec in specs)
    devices, _ = probe_devices(PROBE_TIMEOUT_S) if wants_devices else ([], [])
    free = FreeMemory(memory().available_bytes, devices)
    found: Lengths = {}
    for spec in specs:
        if spec.options.split and spec.options.ctx is None:
            continue
        try:
            facts = read_facts(spec, read_gguf_info(Path(spec.path)))
            n_ctx = place(facts, spec.options, free).n_ctx
            found[spec.path] = FileFacts(n_ctx, kind_of(facts.pooling))
        except CorralError as error:
            logger.debug("no context length for %s: %s", spec.name, error.message)
    return found


class ServedLengths:
    """The lengths decided so far. It belongs to the event loop."""

    def __init__(
        self,
        spec_of: Callable[[CatalogueEntry], ModelSpec],
        decide: Callable[[list[ModelSpec]], Lengths] = lengths_now,
    ) -> None:
        self._spec_of = spec_of
        self._decide = decide
        self._found: Lengths = {}
        self._asked: set[CatalogueEntry] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, entry: CatalogueEntry) -> FileFacts | None:
        """Return what is known of a file; None while nothing is."""
        return self.of_path(str(entry.path))

    def of_path(self, path: str) -> FileFacts | None:
        """Return the same by the file's path."""
        return self._found.get(path)

    def note(self, entries: Iterable[CatalogueEntry]) -> None:
        """Decide on files that are new, in the background. Needs a running event loop."""
        new = [entry for entry in entries if entry not in self._asked]
        if not new:
            return
        self._asked.update(new)
        task = asyncio.create_task(self._find(new))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until all that was noted is decided on."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _find(self, entries: list[CatalogueEntry]) -> None:
        specs = [self._spec_of(entry) for entry in entries]
        self._found |= await asyncio.to_thread(self._decide, specs)
