"""The machine and the build of llama.cpp that a result holds for."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from models.doctor.amx_trap import library_directory
from models.machine.hardware import probe_cpu, usable_cores


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine: `cores` and `threads` are the usable physical and logical ones, `build` is a `build_key`."""

    cpu: str
    cores: int
    threads: int
    llama_cpp: str
    build: str

    @property
    def key(self) -> str:
        """16 hex digits that differ between machines."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def this_machine(env: Mapping[str, str] = os.environ) -> Machine:
    """Return the machine of this process. It takes milliseconds and loads nothing native."""
    cpu = probe_cpu()
    cores, threads = usable_cores(cpu)
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    return Machine(
        cpu=cpu.name,
        cores=cores,
        threads=threads,
        llama_cpp=version,
        build=build_key(library_directory(env)),
    )


def build_key(directory: Path | None) -> str:
    """Return 16 hex digits of the names, sizes and times of llama.cpp's libraries: each build has its own."""
    digest = hashlib.sha256()
    files = sorted(directory.iterdir()) if directory is not None and directory.is_dir() else []
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]
