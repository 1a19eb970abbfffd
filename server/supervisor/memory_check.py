"""`need`: the memory that one more model takes beside all that runs, before its worker is started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import CorralError
from models.gguf.info import read_gguf_info
from models.machine.device import Device
from models.machine.hardware import probe_devices
from models.machine.host_memory import memory
from models.rpc.probe import assumed_devices
from server.ipc.model_spec import ModelSpec
from server.placement.facts import FreeMemory
from server.placement.place import place
from server.placement.placement import Placement
from server.placement.read_facts import read_facts

logger = logging.getLogger("corral.supervisor")

PROBE_TIMEOUT_S = 20.0
"""A child process that lists the devices gets this many seconds."""


@dataclass(frozen=True, slots=True)
class Need:
    """The memory of a model that isn't loaded. By default it is one that only llama.cpp can judge."""

    fits: bool = True
    """It fits as it is to be served, into what is free now."""
    needed_bytes: int = 0
    """It takes so many bytes of the host's memory; 0 where that isn't known."""
    available_bytes: int = 0
    """So many are free."""

    def shortage_bytes(self, reserved_bytes: int) -> int:
        """Return the bytes that are missing where others, which load, will still take `reserved_bytes`."""
        missing = self.needed_bytes + reserved_bytes - self.available_bytes if self.needed_bytes else 0
        return max(missing, 0) if self.fits else max(missing, 1)


async def need(spec: ModelSpec) -> Need:
    """Return what the model takes as it is to be served."""
    try:
        placement = await asyncio.to_thread(place_now, spec)
    except CorralError as error:
        logger.debug("no estimate for %s: %s", spec.name, error.message)
        return Need()
    verdict = placement.wanted_verdict
    return Need(placement.fits_as_wanted, verdict.needed_bytes, verdict.available_bytes)


def place_now(spec: ModelSpec) -> Placement:
    """The placement that a worker started now would decide on. Blocks while a child lists the devices.

    Servers of a split model, which only its worker asks, are taken to have room for all layers. Raises
    InvalidGGUF and ContextError.
    """
    facts = read_facts(spec, read_gguf_info(Path(spec.path)))
    devices: Sequence[Device] = assumed_devices(spec.options.split)
    if not devices and spec.options.gpu_layers != 0:
        devices, _ = probe_devices(PROBE_TIMEOUT_S)
    return place(facts, spec.options, FreeMemory(memory().available_bytes, devices))
