"""`python3 -m scripts.kernels` builds our matrix kernels and puts them beside llama.cpp's libraries.

A step of `scripts.environment` after the wheel, with the wheel's compiler and flags and the headers of the
same archive. The library has every instruction set of the architecture that the compiler knows; which one is
used is decided where it runs. Without it Corral works with llama.cpp's own kernels, so here a failure is a
warning.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts import compiler, environment, lockfile
from scripts.kernel_units import COMMON_FLAGS, HINTS, flags_of, hints_for, is_known, units
from scripts.llama_cpp_wheel import folder_of, key_of, locked
from scripts.lockfile import Locked
from scripts.sources import unpack_sources
from scripts.steps import SetUpError, run_step, say

NATIVE = "server/kernels/native"
LIBRARY = "libcorral_kernels.so"
AT_A_TIME = 2
"""So many compilers run at once; one takes up to half a gigabyte."""
COMPILE_FIX = (
    "Corral works without it, with llama.cpp's own kernels, which are several times slower where many"
    " requests run together. Try another compiler: CXX=clang++ python3 -m scripts.kernels"
)
GGML_INCLUDES = ("ggml/include", "ggml/src", "ggml/src/ggml-cpu")


@dataclass(frozen=True)
class Build:
    """A build of the library: everything that decides its bytes."""

    requirement: Locked
    native: Path
    """The folder of our sources."""
    machine: str
    environ: Mapping[str, str]

    @property
    def compiler(self) -> list[str]:
        """The command of the wheel's compiler. Raises CompilerMissing."""
        wanted = shlex.split(self.environ.get("CXX", ""))
        return wanted or [compiler.find_compiler(self.environ).path]

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of every unit: the wheel's, then ours. Raises CompilerMissing."""
        found = compiler.find_compiler(self.environ)
        user_args, user_flags = self.environ.get("CMAKE_ARGS", ""), self.environ.get("CXXFLAGS", "")
        return (*compiler.all_cxx_flags(found, self.machine, user_args, user_flags), *COMMON_FLAGS)

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


def build(job: Build, libraries: Path, sources: Path) -> Path:
    """Return the library of `job`, compiled unless the cache has it.

    `libraries` has the installed wheel's libraries, `sources` is llama.cpp's tree of the same archive.
    Raises SetUpError.
    """
    folder = job.folder
    with locked(folder):
        built = folder / LIBRARY
        if built.is_file():
            return built
        say("compiling the matrix kernels; half a minute on two cores, once per machine")
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as work:
            objects = _compile(job, Path(work), folder, sources)
            partial = Path(work) / LIBRARY
            linked = [f"-L{libraries}", "-lggml-base"]
            if (libraries / "libggml-cpu.so").exists():  # else one of several is loaded at run time
                linked.append("-lggml-cpu")
            command = [*job.compiler, "-shared", "-o", str(partial), *map(str, objects), *linked]
            command += ["-Wl,-rpath,$ORIGIN", *shlex.split(job.environ.get("LDFLAGS", ""))]
            run_step("linking the matrix kernels", command, folder / "link.log", COMPILE_FIX)
            return partial.rename(built)


def _compile(job: Build, work: Path, logs: Path, sources: Path) -> list[Path]:
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


def libraries_of(python: Path) -> Path:
    """Return the folder of llama.cpp's libraries in the environment of `python`. Raises SetUpError."""
    probe = "import importlib.util as u; s = u.find_spec('llama_cpp'); print(s.origin if s else '')"
    try:
        done = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetUpError(f"{python} doesn't start: {error}; run `make setup`") from None
    package = done.stdout.strip()
    if done.returncode != 0 or not package:
        raise SetUpError(f"llama-cpp-python isn't installed for {python}; run `make setup`")
    return Path(package).parent / "lib"


def put(library: Path, target: Path) -> None:
    """Copy the library to `target` in one step: a process that has the old one keeps it."""
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        shutil.copyfile(library, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # else a crash of the machine may leave the name without the bytes
        partial.rename(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SetUpError(f"the matrix kernels can't be written to {target}: {error}") from None


def keep_up(folder: Path, environ: Mapping[str, str]) -> None:
    """Put the library into the environment in `folder` unless the right one is there; warn where that fails.

    What failed is not tried again by itself until something changes: `python3 -m scripts.kernels` tries.
    """
    if not is_supported():
        return
    stamp = environment.read_stamp(folder)
    python = folder / "bin/python"
    job = job_of(environ, stamp)
    try:
        target = libraries_of(python) / LIBRARY
        key = str(job.folder)
        is_current = stamp.get("kernels") == key
        failure = stamp.get("kernels_failure") if is_current else None
        if failure is None and not (is_current and stamp.get("kernels_digest") == digest_of(target)):
            failure = _install(job, python, target)
            _note(folder, key, target, failure)
    except (SetUpError, compiler.CompilerMissing, OSError) as error:
        failure = str(error)
    if failure:
        say(f"warning: no matrix kernels: {failure}")


def digest_of(library: Path) -> str | None:
    """Return the sha256 of an installed library, None where there is none. Raises OSError."""
    return hashlib.sha256(library.read_bytes()).hexdigest() if library.is_file() else None


def _note(folder: Path, key: str, target: Path, failure: str | None = None) -> None:
    """Keep in the stamp what was installed for `key`, or why nothing was."""
    stamp = {
        name: one for name, one in environment.read_stamp(folder).items() if not name.startswith("kernels")
    }
    digest = None if failure else digest_of(target)
    outcome = {"kernels": key, "kernels_failure": failure, "kernels_digest": digest}
    environment.write_stamp(folder, {**stamp, **{name: one for name, one in outcome.items() if one}})


def _install(job: Build, python: Path, target: Path) -> str | None:
    """Build the library and put it to `target`; return why it can't be, if it can't."""
    try:
        put(build(job, target.parent, unpack_sources(job.environ, python)), target)
    except (SetUpError, OSError) as error:
        return str(error)
    return None


def job_of(environ: Mapping[str, str], stamp: Mapping[str, str]) -> Build:
    """Return the build for an environment with this stamp. Raises SetUpError."""
    args, cxx = environment.build_settings(stamp, environ)
    building = {**environ, "CMAKE_ARGS": args, **({"CXX": cxx} if cxx else {})}
    lock = environment.ROOT / environment.PURPOSES["run"].locks[1]
    requirement = lockfile.one(lockfile.read(lock), environment.BINDINGS)
    return Build(requirement, environment.ROOT / NATIVE, platform.machine(), building)


def is_supported(machine: str = platform.machine(), system: str = sys.platform) -> bool:
    """Return True where the kernels are built: Linux on x86-64 and 64-bit Arm."""
    return system == "linux" and machine.lower() in {*compiler.X86_64, "aarch64", "arm64"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and install, also where an earlier try failed; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m scripts.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("--for", dest="purpose", choices=sorted(environment.PURPOSES), default="run")
    parser.add_argument("--out", type=Path, help="write the library here instead (see CORRAL_KERNELS)")
    options = parser.parse_args(arguments)
    if not is_supported():
        print(f"no matrix kernels for {sys.platform} on {platform.machine()}", file=sys.stderr)
        return 1
    folder = environment.ROOT / environment.PURPOSES[options.purpose].folder
    python = folder / "bin/python"
    try:
        libraries = libraries_of(python)
        target = options.out or libraries / LIBRARY
        stamp = environment.read_stamp(folder)
        job = job_of(os.environ, stamp)
        put(build(job, libraries, unpack_sources(job.environ, python)), target)
        if stamp and options.out is None:  # set-up leaves it, also one of another compiler than its own
            _note(folder, stamp.get("kernels") or str(job.folder), target)
    except (SetUpError, compiler.CompilerMissing, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    say(str(target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
