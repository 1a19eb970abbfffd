"""Which machine and which build of llama.cpp a result holds for."""

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
    """`cores` and `threads`: physical and logical ones that may be used. `build`: see `build_key`."""

    cpu: str
    cores: int
    threads: int
    llama_cpp: str
    build: str

    @property
    def key(self) -> str:
        """16 hex digits, different for different machines."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def this_machine(env: Mapping[str, str] = os.environ) -> Machine:
    """Takes milliseconds; loads nothing native."""
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
    """16 hex digits over the names, sizes and times of llama.cpp's libraries: another build, another key."""
    digest = hashlib.sha256()
    files = sorted(directory.iterdir()) if directory is not None and directory.is_dir() else []
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]
