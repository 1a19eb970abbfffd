"""The translation units of our matrix kernels, and the flags of each.

An instruction set has a unit of its own, `sets/set_<name>.cpp`, which alone is compiled for processors that
have it; all else is compiled for any. All sets of an architecture are compiled, but those whose flags the
compiler doesn't know.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.compiler import X86_64
from scripts.steps import SetUpError

COMMON_FLAGS = (
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-ffp-contract=off",  # the same sums, whatever a compiler might join
    "-fno-math-errno",
)

_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni")
X86_SETS: Mapping[str, tuple[str, ...]] = {
    "set_avx2.cpp": _AVX2,
    "set_avx2_floats.cpp": _AVX2,
    "set_avx_vnni.cpp": (*_AVX2, "-mavxvnni"),
    "set_avx512.cpp": _AVX512,
    "set_avx512_floats.cpp": _AVX512,
    "set_amx.cpp": (*_AVX512, "-mamx-tile", "-mamx-int8"),
}
ARM_SETS: Mapping[str, tuple[str, ...]] = {
    "set_neon_floats.cpp": (),
    "set_neon_dotprod.cpp": ("-march=armv8.2-a+dotprod",),
    "set_neon_i8mm.cpp": ("-march=armv8.2-a+dotprod+i8mm",),
}

HINTS: Mapping[str, tuple[str, ...]] = {
    "set_avx2.cpp": ("-fno-tree-ter", "-fno-tree-reassoc"),
}
"""GCC's, for kernels that are quicker in the order that they are written in; compilers without them do."""


def sets_of(machine: str) -> Mapping[str, tuple[str, ...]]:
    """Return the units of this architecture's instruction sets, with their flags."""
    return X86_SETS if machine.lower() in X86_64 else ARM_SETS


def units(native: Path, machine: str) -> list[Path]:
    """Return the units to compile on this architecture. Raises SetUpError for a set without flags."""
    files = sorted(native.rglob("*.cpp"))
    unknown = [
        file.name
        for file in files
        if file.name.startswith("set_") and file.name not in {*X86_SETS, *ARM_SETS}
    ]
    if unknown:
        raise SetUpError(f"{', '.join(unknown)}: no flags in scripts/kernel_units.py")
    here = sets_of(machine)
    return [file for file in files if not file.name.startswith("set_") or file.name in here]


def hints_for(compiler: Sequence[str], unit: str) -> tuple[str, ...]:
    """Return those of a unit's hints that this compiler knows."""
    return tuple(hint for hint in HINTS.get(unit, ()) if is_known(compiler, (hint,)))


def is_known(compiler: Sequence[str], flags: Sequence[str]) -> bool:
    """Return True if this compiler knows the flags: older ones lack those of newer processors."""
    command = [*compiler, *flags, "-fsyntax-only", "-x", "c++", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def flags_of(unit: str, machine: str) -> tuple[str, ...]:
    """Return the flags that this unit alone has."""
    return sets_of(machine).get(unit, ())
