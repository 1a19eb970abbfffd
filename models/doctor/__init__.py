"""The checks of `corral doctor`: what this machine can do, with facts and fixes.

Nothing native is loaded here: llama.cpp is examined and tested in child processes, and the library that it
would use (LLAMA_CPP_LIB_PATH is honoured) is looked at as a file.

amx_trap.py    The AMX trap: builds of llama.cpp that die at their first batched matrix product on AMX.
check.py       `Check`: the result of a check, for people and programs.
elf.py         The few parts of an ELF shared library that show its compiler and switches. Loads nothing.
machine.py     Checks of llama.cpp's surroundings: Python, CPU features, memory, disk, GPUs, the Hub's
               settings.
self_test.py   A test of llama.cpp at work on a tiny model, in a child process.
tiny_model.py  A tiny Llama with random weights as a GGUF file, which runs llama.cpp's real paths in a second.
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
        yield machine.check_images(facts)
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
