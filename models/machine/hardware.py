"""What this machine has: processor, memory, and the devices that ggml's backends see.

The devices are asked for in a child process (`python -m models.machine.hardware`): a driver can crash or
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

from models.machine.child_process import describe_exit, last_line
from models.machine.host_memory import cpu_quota, memory

PROBE_TIMEOUT_S = 60.0
"""CUDA needs some seconds to start on a box with many GPUs."""


@dataclass(frozen=True)
class Device:
    """One ggml device: `type` is "cpu", "gpu", "igpu" (shares the machine's memory), "accel" or "meta"."""

    name: str
    description: str
    type: str
    memory_total: int
    memory_free: int

    @property
    def is_gpu(self) -> bool:
        return self.type in {"gpu", "igpu"}


@dataclass(frozen=True)
class Hardware:
    """`cores`: physical cores this process may use at once (affinity and container quota respected), at
    least 1; `threads`: the same in logical cores. `flags`: CPU features as Linux names them ("avx2",
    "amx_int8"); empty where the system doesn't tell. `problems`: what couldn't be found out, for people.
    """

    cpu: str
    cores: int
    threads: int
    flags: frozenset[str]
    memory_total: int
    memory_available: int
    devices: tuple[Device, ...]
    problems: tuple[str, ...]

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
    """(physical, logical) cores this process may use at once; each at least 1.

    llama.cpp's threads wait for each other at barriers: more of them than physical cores slow it down.
    """
    cpu = cpu or probe_cpu()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpu.logical
    quota = cpu_quota()
    threads = min(cpu.logical, allowed)
    # Siblings count once; which of them the affinity leaves isn't looked at.
    cores = max(1, threads * cpu.physical // cpu.logical)
    if quota is not None:
        threads, cores = min(threads, int(quota)), min(cores, int(quota))
    return max(1, cores), max(1, threads)


def probe_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Name, features and core counts of the processor."""
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
    """Name and features from /proc/cpuinfo; x86 calls them "flags", Arm "Features"."""
    name = re.search(r"^(?:model name|Model|Processor)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1].strip() if name else "", frozenset(flags[1].split()) if flags else frozenset()


def probe_devices(
    timeout_s: float = PROBE_TIMEOUT_S, command: Sequence[str] | None = None
) -> tuple[list[Device], list[str]]:
    """ggml's devices as a child process sees them, and what went wrong with that."""
    command = command or [sys.executable, "-m", "models.machine.hardware"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return [], [
            f"listing the devices took longer than {timeout_s:g} s and was given up; check the GPU's driver"
        ]
    except OSError as error:
        return [], [f"the process that lists the devices doesn't start: {error}"]
    if done.returncode != 0:
        return [], [f"the process that lists the devices {describe_exit(done.returncode, done.stderr)}"]
    try:
        return _parse_devices(done.stdout), []
    except (ValueError, KeyError, TypeError, AttributeError):
        return [], [f"the process that lists the devices answered nonsense: {done.stdout[:200]!r}"]


def _parse_devices(text: str) -> list[Device]:
    # A driver may print before us: the answer is the last line.
    answer: Mapping[str, Any] = json.loads(last_line(text))
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
    """The child: print the devices as one line of JSON; an error as one line on stderr."""
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
