"""`python3 -m scripts.kernels` builds our matrix kernels and puts them beside llama.cpp's libraries.

A step of `scripts.environment` after the wheel, with the wheel's compiler and flags and the headers of the
same archive (`scripts.native_library`). The library has every instruction set of the architecture that the
compiler knows; which one is used is decided where it runs. Without it Corral works with llama.cpp's own
kernels, so here a failure is a warning.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts import compiler, native_library
from scripts.environment import ROOT
from scripts.kernel_units import COMMON_FLAGS, HINTS, flags_of, hints_for, is_known, units
from scripts.llama_cpp_wheel import folder_of, key_of
from scripts.native_library import NativeLibrary
from scripts.steps import SetUpError, run_step, say

NATIVE = "server/kernels/native"
AT_A_TIME = 2
"""So many compilers run at once; one takes up to half a gigabyte."""
COMPILE_FIX = (
    "Corral works without it, with llama.cpp's own kernels, which are several times slower where many"
    " requests run together. Try another compiler: CXX=clang++ python3 -m scripts.kernels"
)
GGML_INCLUDES = ("ggml/include", "ggml/src", "ggml/src/ggml-cpu")


@dataclass(frozen=True)
class Build(native_library.Build):
    """A build of the library: everything that decides its bytes."""

    native: Path = ROOT / NATIVE
    """The folder of our sources."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of every unit: the wheel's, then ours. Raises CompilerMissing."""
        return (*self.wheel_flags, *COMMON_FLAGS)

    @property
    def folder(self) -> Path:
        """The folder in the cache for what is built of these sources beside this wheel. Raises SetUpError."""
        key = key_of(self.requirement, self.environ)
        digest = hashlib.sha256(key.digest().encode())
        for path in sorted(self.native.rglob("*")):
            if path.suffix in {".cpp", ".h"}:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(self.native)}\0{content}\0".encode())
        table = {unit.name: flags_of(unit.name, self.machine) for unit in units(self.native, self.machine)}
        digest.update(json.dumps([table, dict(HINTS), self.flags, self.compiler]).encode())
        return folder_of(key, self.environ) / f"kernels-{digest.hexdigest()[:16]}"

    def compile(self, target: Path, logs: Path, libraries: Path, sources: Path) -> None:
        """Compile and link the library to `target`, the units' objects beside it. Raises SetUpError."""
        objects = _compile_units(self, target.parent, logs, sources)
        linked = [f"-L{libraries}", "-lggml-base"]
        if (libraries / "libggml-cpu.so").exists():  # else one of several is loaded at run time
            linked.append("-lggml-cpu")
        command = [*self.compiler, "-shared", "-o", str(target), *map(str, objects), *linked]
        run_step("linking the matrix kernels", [*command, *self.link_flags], logs / "link.log", COMPILE_FIX)


def _compile_units(job: Build, work: Path, logs: Path, sources: Path) -> list[Path]:
    """Compile every unit into `work`, `AT_A_TIME` at once; return the objects. Raises SetUpError."""
    version = re.findall(
        r"set\(GGML_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)\)", (sources / "ggml/CMakeLists.txt").read_text()
    )
    if len(version) != 3:
        raise SetUpError(f"ggml's version isn't where it was in {sources / 'ggml/CMakeLists.txt'}")
    defined = [
        f'-DCORRAL_BINDINGS_VERSION="{job.requirement.version}"',
        f'-DCORRAL_GGML_VERSION="{".".join(version)}"',
    ]
    theirs = [part for folder in GGML_INCLUDES for part in ("-isystem", str(sources / folder))]
    includes = ["-I", str(job.native), *theirs]

    known = []
    for unit in units(job.native, job.machine):
        if is_known(job.compiler, flags_of(unit.name, job.machine)):
            known.append(unit)
        else:
            say(f"{job.compiler[0]} is too old for {unit.name}, which is left out of the matrix kernels")

    def compile_unit(unit: Path) -> Path:
        made = work / f"{unit.stem}.o"
        own = (*flags_of(unit.name, job.machine), *hints_for(job.compiler, unit.name))
        command = [*job.compiler, *job.flags, *own, *defined, *includes, "-c", str(unit), "-o", str(made)]
        log = logs / f"{unit.stem}.log"
        log.unlink(missing_ok=True)
        run_step(f"compiling {unit.name}", command, log, COMPILE_FIX)
        return made

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        made = [pool.submit(compile_unit, unit) for unit in known]
        try:
            return [one.result() for one in made]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def is_supported(machine: str = platform.machine(), system: str = sys.platform) -> bool:
    """Return True where the kernels are built: Linux on x86-64 and 64-bit Arm."""
    return system == "linux" and machine.lower() in {*compiler.X86_64, "aarch64", "arm64"}


def refusal() -> str | None:
    """Return why the kernels aren't built on this machine, None where they are."""
    return None if is_supported() else f"no matrix kernels for {sys.platform} on {platform.machine()}"


LIBRARY = NativeLibrary(
    name="kernels",
    file="libcorral_kernels.so",
    title="the matrix kernels",
    duration="half a minute on two cores",
    lack="no matrix kernels",
    make_build=Build,
    refusal=refusal,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and install, also where an earlier try failed; return the exit status."""
    return LIBRARY.main(__doc__.splitlines()[0], arguments)


if __name__ == "__main__":
    sys.exit(main())
