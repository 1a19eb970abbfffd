"""`FitJudge`: whether models would fit, for a list of many; each file's header is read once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from models.errors import CorralError
from models.gguf.info import read_gguf_info
from models.machine.device import Device
from models.machine.hardware import probe_devices
from models.machine.host_memory import memory
from server.ipc.model_spec import ModelSpec
from server.placement.facts import FreeMemory, ModelFacts
from server.placement.place import place
from server.placement.read_facts import read_facts
from server.serve_options import ServeOptions

DEVICES_S = 60.0
"""The devices are listed anew after so many seconds: a process is started for it."""


class FitJudge:
    """Its methods block while files are read, and are called by one thread at a time."""

    def __init__(self) -> None:
        self._facts: dict[bytes, tuple[tuple[int, int], ModelFacts]] = {}
        self._devices: list[Device] = []
        self._devices_s: float | None = None

    def fit(self, specs: Sequence[ModelSpec], returned_bytes: int = 0) -> list[bool | None]:
        """Return for each whether it fits as it is to be served; None where it can't be judged.

        `returned_bytes`: loaded models would give back so much to it.
        """
        facts = [self._read(spec) for spec in specs]
        wants_devices = any(
            one is not None and spec.options.gpu_layers != 0 for spec, one in zip(specs, facts, strict=True)
        )
        devices = self._listed() if wants_devices else []
        available_bytes = memory().available_bytes + returned_bytes
        return [
            None if one is None else _fits(one, spec.options, available_bytes, devices)
            for spec, one in zip(specs, facts, strict=True)
        ]

    def _read(self, spec: ModelSpec) -> ModelFacts | None:
        """Return the facts about a model's files; None for files that can't be read."""
        try:
            status = Path(spec.path).stat()
            key, state = msgspec.msgpack.encode(spec), (status.st_mtime_ns, status.st_size)
            known = self._facts.get(key)
            if known is None or known[0] != state:
                known = self._facts[key] = state, read_facts(spec, read_gguf_info(Path(spec.path)))
        except (CorralError, OSError):
            return None
        return known[1]

    def _listed(self) -> list[Device]:
        now_s = time.monotonic()
        if self._devices_s is None or now_s - self._devices_s > DEVICES_S:
            self._devices, _ = probe_devices()
            self._devices_s = now_s
        return self._devices


def _fits(
    facts: ModelFacts, options: ServeOptions, available_bytes: int, devices: Sequence[Device]
) -> bool | None:
    if options.split:  # only a worker asks the servers
        return None
    seen = devices if options.gpu_layers != 0 else ()
    try:
        return place(facts, options, FreeMemory(available_bytes, seen)).wanted_verdict.fits
    except CorralError:
        return None
