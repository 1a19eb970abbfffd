"""Checks of llama.cpp's surroundings: Python, CPU features, memory, disk, GPUs, the Hub's settings."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from models.doctor.check import Check, fail, ok, warning
from models.errors import ConfigError
from models.machine.fit import GIB, format_bytes
from models.machine.hardware import Hardware
from models.machine.native_facts import NativeFacts
from models.secrets import clean_address, clean_secret, without_user

MIN_PYTHON = (3, 11)
LITTLE_MEMORY_BYTES = 4 * GIB
"""Fewer bytes of available memory than this are a warning."""
LITTLE_DISK_BYTES = 10 * GIB
"""Fewer bytes of free disk than this are a warning."""

LIBRARY = "llama.cpp"
"""The name of the check without which nothing else of llama.cpp is tried."""

# llama.cpp's name of a feature, the kernel's, and whether code compiled for it dies without it.
_FEATURES = {
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA": "fma",
    "F16C": "f16c",
    "BMI2": "bmi2",
    "AVX_VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
}
# ggml asks the kernel for the tiles before it uses them; the others it just uses.
_CHECKED_AT_RUN_TIME = {"AMX_INT8"}
# Not worth a rebuild: the compiler doesn't use it where there is AVX-512.
_MINOR = {"AVX_VNNI", "BMI2", "AVX512_BF16"}


def check_python(version: tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> Check:
    if version < MIN_PYTHON:
        found, least = (".".join(map(str, v)) for v in (version, MIN_PYTHON))
        return fail("Python", f"Python {found}; Corral needs {least}", f"install Python {least} or newer")
    return ok("Python", f"{platform.python_implementation()} {platform.python_version()}")


def check_library(facts: NativeFacts | str) -> Check:
    if isinstance(facts, str):
        return fail(LIBRARY, f"llama-cpp-python {facts}", "run `make setup` to compile it here")
    return ok(LIBRARY, f"llama-cpp-python {facts.version} from {Path(facts.library).parent}")


def check_images(facts: NativeFacts) -> Check:
    """Return whether models can see images here."""
    if facts.sees_images:
        return ok("images", "this build of llama.cpp has what models need to see images (libmtmd)")
    return warning(
        "images",
        "this build of llama.cpp has no libmtmd, so models see no images",
        "run `make setup` to compile llama-cpp-python with it",
    )


def check_features(facts: NativeFacts, cpu_flags: frozenset[str]) -> Check:
    """Compare what the build uses with what the processor has. AMX has a check of its own."""
    name = "CPU features"
    if not cpu_flags or platform.machine().lower() not in {"x86_64", "amd64"}:
        return ok(name, ", ".join(sorted(facts.features)) or "none named")
    lacking = [
        feature
        for feature, flag in _FEATURES.items()
        if feature in facts.features and flag not in cpu_flags and feature not in _CHECKED_AT_RUN_TIME
    ]
    if lacking:
        return fail(
            name,
            f"llama.cpp was compiled for {', '.join(lacking)}, which this CPU lacks: it dies of SIGILL",
            "run `make setup` on this machine to compile it here",
        )
    unused = [
        feature
        for feature, flag in _FEATURES.items()
        if flag in cpu_flags and feature not in facts.features and feature not in _MINOR
    ]
    if unused:
        return warning(
            name,
            f"this CPU has {', '.join(unused)}, which this build of llama.cpp doesn't use",
            "run `make setup` on this machine to compile it for this CPU",
        )
    return ok(name, "the build uses " + ", ".join(f for f in _FEATURES if f in facts.features))


def check_processor(hardware: Hardware) -> Check:
    return ok("CPU", f"{hardware.cpu}, {hardware.cores} cores to use ({hardware.threads} threads)")


def check_memory(hardware: Hardware) -> Check:
    fact = f"{format_bytes(hardware.memory_available)} of {format_bytes(hardware.memory_total)} available"
    if hardware.memory_available < LITTLE_MEMORY_BYTES:
        return warning(
            "memory",
            fact,
            "a 7B model at 4 bits takes about 5 GiB: stop other programs, or use smaller models",
        )
    return ok("memory", fact)


def check_disk(directory: Path, name: str = "disk") -> Check:
    """Free space where files will be written, and whether they can be."""
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    fact = f"{format_bytes(free)} free at {directory}"
    if free < LITTLE_DISK_BYTES:
        return warning(
            name, fact, "a 7B model at 8, 5 and 4 bits takes 17 GiB: free some, or set CORRAL_HOME"
        )
    return ok(name, fact)


def check_gpus(hardware: Hardware) -> Check:
    name = "GPU"
    if hardware.problems:
        return warning(
            name, "; ".join(hardware.problems), "check the driver; Corral serves on the CPU meanwhile"
        )
    if not hardware.gpus:
        seen = _nvidia_devices()
        if seen:
            return warning(
                name,
                f"{seen} is here, but this build of llama.cpp has no GPU backend",
                'compile it for CUDA: CMAKE_ARGS="-DGGML_CUDA=on" make setup',
            )
        return ok(name, "none; the CPU serves")
    return ok(
        name,
        "; ".join(
            f"{gpu.description} ({gpu.name}), {format_bytes(gpu.memory_free)} of "
            f"{format_bytes(gpu.memory_total)} free"
            for gpu in hardware.gpus
        ),
    )


def check_hub(env: Mapping[str, str]) -> Check:
    """Check the Hub's settings; nothing goes over the network."""
    try:
        address = clean_address(env.get("HF_ENDPOINT", ""), "HF_ENDPOINT")
        endpoint = "the public Hub" if address is None else without_user(address)
        has_token = clean_secret(env.get("HF_TOKEN", ""), "HF_TOKEN") is not None
    except ConfigError as error:
        fact, _, fix = error.message.partition("; ")
        return fail("Hub", fact, fix)
    token = "a token is set" if has_token else "no token in HF_TOKEN"
    if env.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}:
        return warning(
            "Hub",
            f"HF_HUB_OFFLINE is set: only what is here can be used ({endpoint})",
            "unset it to download",
        )
    return ok("Hub", f"{endpoint}, {token}")


def _nvidia_devices(driver: Path = Path("/proc/driver/nvidia/gpus")) -> str:
    """Return "1 NVIDIA GPU", as the driver lists them; "" if there is none."""
    try:
        count = sum(1 for _ in driver.iterdir())
    except OSError:
        return ""
    return f"{count} NVIDIA GPU{'s' if count != 1 else ''}" if count else ""
