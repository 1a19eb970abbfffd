"""`python3 -m scripts.rpc` builds llama.cpp's RPC back end and puts it beside llama.cpp's libraries.

A step of `scripts.environment` after the wheel, with the wheel's compiler and flags and the sources of the
same archive (`scripts.native_library`). The bindings can build it, too, but then every wheel would be another
one, minutes to compile, and each process would have it; as a library of its own it takes seconds, fits every
wheel of that archive, and is loaded only where a model is split over several machines. Without it only that
can't be done, so here a failure is a warning.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import native_library
from scripts.llama_cpp_wheel import folder_of, key_of
from scripts.native_library import NativeLibrary
from scripts.steps import run_step

UNITS = ("ggml-rpc.cpp", "transport.cpp")
FLAGS = (
    *("-std=c++17", "-O2", "-fPIC", "-pthread", "-DNDEBUG", "-D_GNU_SOURCE"),
    *("-DGGML_SHARED", "-DGGML_BACKEND_SHARED", "-DGGML_BACKEND_BUILD"),
)
"""Without GGML_RPC_RDMA: the transport is TCP, whatever libraries a machine has."""
FIX = "Corral works without it, but not with --split and `corral cluster share`"


@dataclass(frozen=True)
class Build(native_library.Build):
    """A build of the library: everything that decides its bytes."""

    @property
    def command(self) -> list[str]:
        """The wheel's compiler, its flags and ours. Raises CompilerMissing."""
        return [*self.compiler, *self.wheel_flags, *FLAGS]

    @property
    def folder(self) -> Path:
        """The folder in the cache for what is built beside this wheel. Raises SetUpError."""
        key = key_of(self.requirement, self.environ)
        content = json.dumps([key.digest(), self.command, UNITS])
        return folder_of(key, self.environ) / f"rpc-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def compile(self, target: Path, logs: Path, libraries: Path, sources: Path) -> None:
        """Compile and link the library to `target`. Raises SetUpError."""
        own = sources / "ggml/src/ggml-rpc"
        includes = [
            part for name in ("ggml/include", "ggml/src") for part in ("-isystem", str(sources / name))
        ]
        command = [*self.command, *includes, "-shared", *(str(own / unit) for unit in UNITS)]
        command += ["-o", str(target), f"-L{libraries}", "-lggml-base", "-Wl,--no-undefined"]
        log = logs / "build.log"
        log.unlink(missing_ok=True)
        run_step("compiling llama.cpp's RPC back end", [*command, *self.link_flags], log, FIX)


def refusal() -> str | None:
    """Return why the back end isn't built on this machine, None where it is."""
    return None if sys.platform == "linux" else f"no split models on {sys.platform}"


LIBRARY = NativeLibrary(
    name="rpc",
    file="libcorral_rpc.so",  # not that of the bindings' own build, which stays where somebody has it
    title="llama.cpp's RPC back end",
    duration="ten seconds",
    lack="no split models",
    make_build=Build,
    refusal=refusal,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and install, also where an earlier try failed; return the exit status."""
    return LIBRARY.main(__doc__.splitlines()[0], arguments)


if __name__ == "__main__":
    sys.exit(main())
