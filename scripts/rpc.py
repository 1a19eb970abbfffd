"""`python3 -m scripts.rpc` builds llama.cpp's RPC back end and puts it beside llama.cpp's libraries.

A step of `scripts.environment` after the wheel, with the wheel's compiler and flags and the sources of the
same archive. The bindings can build it, too, but then every wheel would be another one, minutes to compile,
and each process would have it; as a library of its own it takes seconds, fits every wheel of that archive,
and is loaded only where a model is split over several machines. Without it only that can't be done, so here
a failure is a warning.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import compiler, environment
from scripts.kernels import digest_of, job_of, libraries_of, put
from scripts.llama_cpp_wheel import folder_of, key_of, locked
from scripts.lockfile import Locked
from scripts.sources import unpack_sources
from scripts.steps import SetUpError, run_step, say

LIBRARY = "libcorral_rpc.so"
"""Its name isn't that of the bindings' own build, which stays as it is where somebody has it."""
UNITS = ("ggml-rpc.cpp", "transport.cpp")
FLAGS = (
    *("-std=c++17", "-O2", "-fPIC", "-pthread", "-DNDEBUG", "-D_GNU_SOURCE"),
    *("-DGGML_SHARED", "-DGGML_BACKEND_SHARED", "-DGGML_BACKEND_BUILD"),
)
"""Without GGML_RPC_RDMA: the transport is TCP, whatever libraries a machine has."""
FIX = "Corral works without it, but not with --split and `corral cluster share`"


@dataclass(frozen=True)
class Build:
    """A build of the library: everything that decides its bytes."""

    requirement: Locked
    environ: Mapping[str, str]

    @property
    def command(self) -> list[str]:
        """The wheel's compiler, its flags and ours. Raises CompilerMissing."""
        found = compiler.find_compiler(self.environ)
        wanted = shlex.split(self.environ.get("CXX", "")) or [found.path]
        user_args, user_flags = self.environ.get("CMAKE_ARGS", ""), self.environ.get("CXXFLAGS", "")
        return [*wanted, *compiler.all_cxx_flags(found, platform.machine(), user_args, user_flags), *FLAGS]

    @property
    def folder(self) -> Path:
        """The folder in the cache for what is built beside this wheel. Raises SetUpError."""
        key = key_of(self.requirement, self.environ)
        content = json.dumps([key.digest(), self.command, UNITS])
        return folder_of(key, self.environ) / f"rpc-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


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
        say("compiling llama.cpp's RPC back end; ten seconds, once per machine")
        own = sources / "ggml/src/ggml-rpc"
        includes = [
            part for name in ("ggml/include", "ggml/src") for part in ("-isystem", str(sources / name))
        ]
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as work:
            partial = Path(work) / LIBRARY
            command = [*job.command, *includes, "-shared", *(str(own / unit) for unit in UNITS)]
            command += ["-o", str(partial), f"-L{libraries}", "-lggml-base", "-Wl,--no-undefined"]
            command += ["-Wl,-rpath,$ORIGIN", *shlex.split(job.environ.get("LDFLAGS", ""))]
            log = folder / "build.log"
            log.unlink(missing_ok=True)
            run_step("compiling llama.cpp's RPC back end", command, log, FIX)
            return partial.rename(built)


def keep_up(folder: Path, environ: Mapping[str, str]) -> None:
    """Put the library into the environment in `folder` unless the right one is there; warn where that fails.

    What failed is not tried again by itself until something changes: `python3 -m scripts.rpc` tries.
    """
    if sys.platform != "linux":
        return
    try:
        stamp = environment.read_stamp(folder)
        job = build_of(environ, stamp)
        python = folder / "bin/python"
        target = libraries_of(python) / LIBRARY
        key = str(job.folder)
        failure = stamp.get("rpc_failure") if stamp.get("rpc") == key else None
        if failure is None and not (stamp.get("rpc") == key and stamp.get("rpc_digest") == digest_of(target)):
            failure = _install(job, python, target)
            _note(folder, key, target, failure)
    except (SetUpError, compiler.CompilerMissing, OSError) as error:
        failure = str(error)
    if failure:
        say(f"warning: no split models: {failure}")


def _note(folder: Path, key: str, target: Path, failure: str | None = None) -> None:
    """Keep in the stamp what was installed for `key`, or why nothing was."""
    digest = None if failure else digest_of(target)
    outcome = {"rpc": key, "rpc_failure": failure, "rpc_digest": digest}
    others = {name: one for name, one in environment.read_stamp(folder).items() if name not in outcome}
    environment.write_stamp(folder, {**others, **{name: one for name, one in outcome.items() if one}})


def build_of(environ: Mapping[str, str], stamp: Mapping[str, str]) -> Build:
    """Return the build for an environment with this stamp. Raises SetUpError."""
    job = job_of(environ, stamp)
    return Build(job.requirement, job.environ)


def _install(job: Build, python: Path, target: Path) -> str | None:
    """Build the library and put it to `target`; return why it can't be, if it can't."""
    try:
        put(build(job, target.parent, unpack_sources(job.environ, python)), target)
    except (SetUpError, OSError) as error:
        return str(error)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and install, also where an earlier try failed; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m scripts.rpc", description=__doc__.splitlines()[0])
    parser.add_argument("--for", dest="purpose", choices=sorted(environment.PURPOSES), default="run")
    parser.add_argument("--out", type=Path, help="write the library here instead (see CORRAL_RPC_LIBRARY)")
    options = parser.parse_args(arguments)
    if sys.platform != "linux":
        print(f"no split models on {sys.platform}", file=sys.stderr)
        return 1
    folder = environment.ROOT / environment.PURPOSES[options.purpose].folder
    python = folder / "bin/python"
    try:
        libraries = libraries_of(python)
        stamp = environment.read_stamp(folder)
        job = build_of(os.environ, stamp)
        target = options.out or libraries / LIBRARY
        put(build(job, libraries, unpack_sources(job.environ, python)), target)
        if stamp and options.out is None:  # set-up leaves it, also one of another compiler than its own
            _note(folder, stamp.get("rpc") or str(job.folder), target)
    except (SetUpError, compiler.CompilerMissing, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    say(str(target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
