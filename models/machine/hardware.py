"""This machine's hardware: processor, memory, and the devices that ggml's backends see.

The devices are listed by a child process (`python -m models.machine.hardware`): a driver can crash or
hang, and llama.cpp isn't loaded into the caller. Nothing is remembered between calls.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from models.machine.child_process import ChildFailed, ChildTimedOut, ask_child, module_command
from models.machine.device import Device
from models.machine.host_memory import cpu_quota, memory

PROBE_TIMEOUT_S = 60.0
"""The child may take this many seconds; CUDA needs some to start on a box with many GPUs."""


@dataclass(frozen=True)
class Hardware:
    """The hardware that this process may use."""

    cpu: str
    """The processor's name."""
    cores: int
    """The physical cores that may be used at once (affinity and container quota respected), at least 1."""
    threads: int
    """The logical cores that may be used at once, counted the same way."""
    flags: frozenset[str]
    """The CPU features as Linux names them ("avx2", "amx_int8"); empty where the system doesn't say."""
    memory_total: int
    """The memory in bytes."""
    memory_available: int
    """The memory in bytes that can be had without swapping."""
    devices: tuple[Device, ...]
    """ggml's devices."""
    problems: tuple[str, ...]
    """Sentences on what couldn't be found out."""

    @property
    def gpus(self) -> tuple[Device, ...]:
        return tuple(device for device in self.devices if device.is_gpu)

    @property
    def has_amx(self) -> bool:
        return "amx_tile" in self.flags


@dataclass(frozen=True)
class Cpu:
    """The processor as the operating system describes it."""

    name: str
    flags: frozenset[str]
    physical: int
    logical: int


def probe(timeout_s: float = PROBE_TIMEOUT_S, command: Sequence[str] | None = None) -> Hardware:
    """Look at this machine; takes a second. Never raises: what fails is in `problems`.

    `command` replaces the child that lists the devices.
    """
    cpu = probe_cpu()
    amount = memory()
    devices, problems = probe_devices(timeout_s, command)
    cores, threads = usable_cores(cpu)
    return Hardware(
        cpu=cpu.name,
        cores=cores,
        threads=threads,
        flags=cpu.flags,
        memory_total=amount.total_bytes,
        memory_available=amount.available_bytes,
        devices=tuple(devices),
        problems=tuple(problems),
    )


def usable_cores(cpu: Cpu | None = None) -> tuple[int, int]:
    """Return the (physical, logical) cores this process may use at once; each at least 1.

    llama.cpp's threads wait for each other at barriers: more of them than physical cores slow it down.
    """
    cpu = cpu or probe_cpu()
    quota = cpu_quota()
    threads = min(cpu.logical, available_cores())
    # Siblings count once; which of them the affinity leaves isn't looked at.
    cores = max(1, threads * cpu.physical // cpu.logical)
    if quota is not None:
        threads, cores = min(threads, int(quota)), min(cores, int(quota))
    return max(1, cores), max(1, threads)


def available_cores() -> int:
    """Return the number of logical cores this process may run on: its affinity mask where there is one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def probe_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Look up name, features and core counts of the processor."""
    logical = psutil.cpu_count(logical=True) or os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    name, flags = "", frozenset[str]()
    if cpuinfo.is_file():
        name, flags = parse_cpuinfo(cpuinfo.read_text(errors="replace"))
    elif sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
        features = _sysctl("machdep.cpu.features") + " " + _sysctl("machdep.cpu.leaf7_features")
        flags = frozenset(features.lower().replace(".", "_").split())
    return Cpu(name or platform.processor() or platform.machine() or "unknown", flags, physical, logical)


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """Return name and features from /proc/cpuinfo; x86 calls them "flags", Arm "Features"."""
    name = re.search(r"^(?:model name|Model|Processor)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1].strip() if name else "", frozenset(flags[1].split()) if flags else frozenset()


def probe_devices(
    timeout_s: float = PROBE_TIMEOUT_S, command: Sequence[str] | None = None
) -> tuple[list[Device], list[str]]:
    """Return ggml's devices as a child process sees them, and what went wrong with that."""
    command = command or module_command("models.machine.hardware")
    try:
        return ask_child(command, timeout_s, _parse_devices), []
    except ChildTimedOut as late:
        return [], [f"listing the devices {late.text} and was given up; check the GPU's driver"]
    except ChildFailed as failure:
        return [], [f"the process that lists the devices {failure.text}"]


def _parse_devices(answer: Mapping[str, Any]) -> list[Device]:
    return [
        Device(
            name=str(item["name"]),
            description=str(item["description"]),
            type=str(item["type"]),
            memory_total=int(item["memory_total"]),
            memory_free=int(item["memory_free"]),
        )
        for item in answer["devices"]
    ]


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def main() -> int:
    """Print the devices as one line of JSON, or an error as one line on stderr: the child's work."""
    from models.errors import LlamaCppError
    from models.llamacpp import library

    try:
        devices = [asdict(device) for device in library.devices()]
    except LlamaCppError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps({"devices": devices}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
