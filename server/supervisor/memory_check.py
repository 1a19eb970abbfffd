"""`fits`: the check that one more model has room beside all that runs, before its worker is started."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from models.errors import CorralError
from models.gguf.info import read_gguf_info
from models.machine.hardware import probe_devices
from models.machine.host_memory import memory
from server.ipc.model_spec import ModelSpec
from server.model_facts import read_facts
from server.placement import FreeMemory, Placement, place

logger = logging.getLogger("corral.supervisor")

PROBE_TIMEOUT_S = 20.0
"""A child process that lists the devices gets this many seconds."""


async def fits(spec: ModelSpec) -> bool:
    """True if the model fits as it is to be served, or where only llama.cpp can tell."""
    try:
        placement = await asyncio.to_thread(place_now, spec)
    except CorralError as error:
        logger.debug("no estimate for %s: %s", spec.name, error.message)
        return True
    return placement.fits_as_wanted


def place_now(spec: ModelSpec) -> Placement:
    """The placement that a worker started now would decide on. Blocks while a child lists the devices.

    Raises InvalidGGUF and ContextError.
    """
    facts = read_facts(spec, read_gguf_info(Path(spec.path)))
    devices, _ = probe_devices(PROBE_TIMEOUT_S) if spec.options.gpu_layers != 0 else ([], [])
    return place(facts, spec.options, FreeMemory(memory().available_bytes, devices))
