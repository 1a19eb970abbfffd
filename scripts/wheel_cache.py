"""The cache of built llama-cpp-python wheels, and its keys.

Outside the tree, so that every clone reuses them. A native build (ggml's default) fits one kind of CPU, so
the key covers everything that goes into it: the sources, the Python platform, the compiler, the CPU's
features and CMake's arguments.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.compiler import Compiler

# Fields of /proc/cpuinfo, as x86 and Arm kernels call them.
_X86_MODEL = ("vendor_id", "cpu family", "model", "model name")
_ARM_MODEL = ("CPU implementer", "CPU architecture", "CPU variant", "CPU part")
_FEATURES = ("flags", "Features")


@dataclass(frozen=True)
class WheelKey:
    """All that decides the content of a built wheel."""

    package: str
    version: str
    sdist_sha256: tuple[str, ...]
    platform: str
    compiler: str
    cpu: str
    cmake_args: tuple[str, ...]

    def digest(self) -> str:
        """Return a name for a folder: 24 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def make_key(
    requirement: tuple[str, str, Sequence[str]], compiler: Compiler, cpu: str, cmake_args: Sequence[str]
) -> WheelKey:
    """Return the key of `requirement` (name, version, sha256 digests) built on this Python and platform."""
    name, version, digests = requirement
    system = f"{sys.platform}-{platform.machine()}-{platform.libc_ver()[0]}-{platform.libc_ver()[1]}"
    return WheelKey(name, version, tuple(sorted(digests)), system, str(compiler), cpu, tuple(cmake_args))


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/corral/wheels`.

    `~/.cache` if it is unset or, as its specification says, not absolute.
    """
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path(environ.get("HOME") or Path.home()) / ".cache"
    return base / "corral" / "wheels"


def find_wheel(folder: Path) -> Path | None:
    """Return the wheel in a key's folder; None if there is none.

    Wheels get there by rename, so one that is there is whole.
    """
    return next(iter(sorted(folder.glob("*.whl"))), None)


def cpu_identity(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return model and instruction set of this CPU in one line: `-march=native` looks at them.

    Reads `/proc/cpuinfo` (Linux), else asks `sysctl` (macOS).
    """
    try:
        return parse_cpuinfo(cpuinfo.read_text(errors="replace"))
    except OSError:
        pass
    try:
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        brand = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        brand = platform.processor()
    return f"{platform.machine()} {brand}"


def parse_cpuinfo(text: str) -> str:
    """Return the first processor's model and features, but nothing that a boot changes (clock, bug lists)."""
    identity: list[str] = []
    for line in text.split("\n\n", 1)[0].splitlines():
        name, value = (part.strip() for part in line.partition(":")[::2])
        if name in _FEATURES:
            value = " ".join(sorted(value.split()))
        elif name not in _X86_MODEL + _ARM_MODEL:
            continue
        identity.append(f"{name}={value}")
    return "; ".join(identity)
