"""The AMX trap: builds of llama.cpp that die at their first batched matrix product on AMX.

GCC before 12.4, and 13.0 to 13.2, believes that `_tile_loadconfig` reads 8 of the 64 bytes it reads (GCC PR
114098). Dead-store elimination then drops the stores of the tile sizes, and the CPU is configured with
garbage: SIGSEGV in `ggml_backend_amx_mul_mat`. One-token decodes may pass, so that a build can look well.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from models.doctor.check import Check, fail, ok, warning
from models.doctor.elf import LibraryBuild, read_build

NAME = "AMX"
KEEPS_STORES = "-fno-tree-dse"


class Finding(Enum):
    """The result of a look at one library."""

    NO_AMX = "has no AMX code"
    KEPT = "stores the tile sizes in its AMX code"
    FIXED_COMPILER = "was compiled by a compiler without the fault"
    FIXED_SWITCHES = f"was compiled with {KEEPS_STORES}"
    TRAP = "has the AMX trap"
    UNSURE = "may have the AMX trap"


def judge(build: LibraryBuild) -> Finding:
    """Judge if a build has the trap, by its code first, then by what is recorded about the compiler."""
    if not build.has_tile_code:
        return Finding.NO_AMX
    if build.stores_tile_columns:
        return Finding.KEPT
    cxx = [line for line in build.switches if line.startswith("GNU C++")]
    versions = [gcc_version(line) for line in cxx] or [
        gcc_version(line) for line in build.compilers if line.startswith("GCC:")
    ]
    if any("clang" in line for line in build.compilers) and not cxx:
        return Finding.FIXED_COMPILER
    if not versions or None in versions:
        return Finding.UNSURE
    faulty = [version is not None and has_fault(version) for version in versions]
    if not any(faulty):
        return Finding.FIXED_COMPILER
    if cxx and all(KEEPS_STORES in line.split() for line in cxx):
        return Finding.FIXED_SWITCHES
    return Finding.TRAP if all(faulty) else Finding.UNSURE


def gcc_version(line: str) -> tuple[int, int] | None:
    """Return (12, 2) for "GCC: (Debian 12.2.0-14+deb12u1) 12.2.0" or "GNU C++17 12.2.0 -O3 …"."""
    line = re.sub(r"\(.*?\)", "", line)
    found = re.search(r"(?:^| )(\d+)\.(\d+)\.\d+(?: |$)", line)
    return (int(found[1]), int(found[2])) if found else None


def has_fault(version: tuple[int, int]) -> bool:
    """True if the version of GCC has PR 114098."""
    return version < (12, 4) or (13, 0) <= version < (13, 3)


def check_amx(directory: Path, cpu_has_amx: bool) -> Check:
    """Look at the libraries in `directory`. A trap is a failure on a CPU with AMX, a warning elsewhere."""
    builds = [build for path in cpu_libraries(directory) if (build := read_build(path)) is not None]
    if not builds:
        return ok(NAME, "not for this kind of CPU")
    findings = {build.path.name: (build, judge(build)) for build in builds}
    bad = [item for item in findings.values() if item[1] in {Finding.TRAP, Finding.UNSURE}]
    if not bad:
        name, (_build, finding) = next(iter(findings.items()))
        return ok(NAME, f"{name} {finding.value}")
    build, finding = min(bad, key=lambda item: item[1] is not Finding.TRAP)
    compiler = ", ".join(dict.fromkeys(build.compilers)) or "an unknown compiler"
    why = f"compiled by {compiler} without {KEEPS_STORES}, its AMX code lacks the tile sizes"
    if finding is Finding.UNSURE:
        why = f"compiled by {compiler}, and nothing shows that its AMX code keeps the tile sizes"
    fact = (
        f"{build.path.name} {finding.value}: {why} (GCC PR 114098), so that the first batched matrix product "
        "dies of SIGSEGV "
    )
    fix = (
        "run `make setup`, which compiles llama.cpp with -fno-tree-dse -fno-dse; until then set "
        "CORRAL_USE_EXTRA_BUFTS=false (slower)"
    )
    if finding is Finding.TRAP and cpu_has_amx:
        return fail(NAME, f"{fact}on CPUs with AMX such as this one", fix)
    where = "on CPUs with AMX such as this one" if cpu_has_amx else "on a CPU with AMX (this one has none)"
    return warning(NAME, fact + where, fix)


def library_directory(env: Mapping[str, str] = os.environ) -> Path | None:
    """Return llama-cpp-python's folder of libraries: LLAMA_CPP_LIB_PATH, or its package's.

    Imports nothing.
    """
    given = env.get("LLAMA_CPP_LIB_PATH")
    if given:
        return Path(given)
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "lib"


def cpu_libraries(directory: Path) -> list[Path]:
    """Return the libraries with ggml's CPU code: one, one per CPU generation, or libllama (static builds)."""
    for pattern in ("libggml-cpu*.so", "libggml-cpu*.so.*", "libllama.so"):
        found = sorted(path for path in directory.glob(pattern) if path.is_file())
        if found:
            return found
    return []
