"""The checks of `corral doctor`: what this machine can do, with facts and fixes.

Nothing native is loaded here: llama.cpp is examined and tested in child processes, and the library that it
would use (LLAMA_CPP_LIB_PATH is honoured) is looked at as a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from models.doctor import amx_trap, machine, self_test
from models.doctor.check import Check, Status
from models.machine import native_facts
from models.machine.hardware import Hardware, probe
from models.paths import Paths

__all__ = ["Check", "Status", "checks", "diagnose"]


def checks(env: Mapping[str, str] = os.environ, hardware: Hardware | None = None) -> Iterator[Check]:
    """Yield every check in order, each as soon as it is done; some seconds in all.

    `hardware` None: probe it.
    """
    yield machine.check_python()
    hardware = hardware or probe()
    yield machine.check_processor(hardware)
    yield machine.check_memory(hardware)
    paths = Paths.from_environment(env)
    yield machine.check_disk(paths.home)
    facts = native_facts.ask()
    yield machine.check_library(facts)
    if isinstance(facts, native_facts.NativeFacts):
        yield machine.check_features(facts, hardware.flags)
    directory = amx_trap.library_directory(env)
    if directory is not None:
        yield amx_trap.check_amx(directory, hardware.has_amx)
    if isinstance(facts, native_facts.NativeFacts):
        yield machine.check_gpus(hardware)
        yield self_test.check(hardware.has_amx)
    yield machine.check_hub(env)


def diagnose(env: Mapping[str, str] = os.environ, hardware: Hardware | None = None) -> list[Check]:
    """Return all checks at once."""
    return list(checks(env, hardware))
