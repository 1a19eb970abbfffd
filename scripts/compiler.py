"""The compiler that builds llama.cpp here, and the flags it needs. Standard library only.

GCC before 12.4, and 13.0 to 13.2, declares that `_tile_loadconfig` reads 8 of the 64 bytes it reads (GCC PR
114098). Its dead-store elimination then removes the stores that fill the tile configuration, and the native
build dies with SIGSEGV in the AMX matrix product on CPUs that have AMX. Without dead-store elimination the
code is right and AMX stays in use. Not a general CMake front end: it decides flags, `scripts.llama_cpp_wheel`
runs the build.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NO_DEAD_STORE_ELIMINATION = ("-fno-tree-dse", "-fno-dse")

# Puts each object's switches into the library (section .GCC.command.line), where `corral doctor` reads them.
RECORD_SWITCHES = "-frecord-gcc-switches"

IMAGE_LIBRARY = ("-DLLAVA_BUILD=ON", "-DMTMD_VIDEO=OFF")

_CXX_FLAGS = re.compile(r"-DCMAKE_CXX_FLAGS(?::\w+)?=(.*)", re.DOTALL)

X86_64 = frozenset({"x86_64", "amd64"})


class CompilerMissing(Exception):
    """There is no C++ compiler where the build would look for one."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: `kind` is "gcc", "clang" or "other".

    `version` is (major, minor, patch), empty if unknown.
    """

    path: str
    kind: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(map(str, self.version)) or 'of unknown version'} ({self.path})"


def find_compiler(environ: Mapping[str, str] = os.environ) -> Compiler:
    """Return the compiler that CMake would use: `$CXX`, else c++, g++, clang++ from PATH.

    Runs it to learn its version. Raises CompilerMissing.
    """
    wanted = environ.get("CXX", "").strip()
    candidates = [shlex.split(wanted)[0]] if wanted else ["c++", "g++", "clang++"]
    for name in candidates:
        path = shutil.which(name, path=environ.get("PATH"))
        if path is not None:
            return Compiler(path, *identify(path))
    what = f"$CXX names {wanted}, which is not there" if wanted else "no C++ compiler on PATH"
    raise CompilerMissing(
        f"{what}; llama.cpp is compiled here: install one "
        "(Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install)"
    )


def identify(path: str) -> tuple[str, tuple[int, ...]]:
    """Return kind and version of the compiler at `path`, by running it."""
    macros = _output([path, "-dM", "-E", "-x", "c++", os.devnull])
    return parse_macros(macros)


def parse_macros(text: str) -> tuple[str, tuple[int, ...]]:
    """Return kind and version from a compiler's predefined macros (`-dM -E`).

    clang claims to be GCC 4.2, so it goes first.
    """
    macros = dict(re.findall(r"^#define (\w+) (.+)$", text, re.MULTILINE))
    if "__clang__" in macros:
        names = ("__clang_major__", "__clang_minor__", "__clang_patchlevel__")
        return "clang", _numbers(macros, names)
    if "__GNUC__" in macros:
        return "gcc", _numbers(macros, ("__GNUC__", "__GNUC_MINOR__", "__GNUC_PATCHLEVEL__"))
    return "other", ()


def drops_tile_configuration(compiler: Compiler, machine: str) -> bool:
    """True if this compiler may miscompile ggml's AMX code (GCC PR 114098, fixed in 12.4, 13.3 and 14)."""
    if compiler.kind != "gcc" or machine.lower() not in X86_64:
        return False
    version = compiler.version[:2]
    return version < (12, 4) or (13, 0) <= version < (13, 3)


def cxx_flags(compiler: Compiler, machine: str) -> tuple[str, ...]:
    """Return the C++ flags that a right build of llama.cpp needs with this compiler on this machine."""
    flags: tuple[str, ...] = ()
    if drops_tile_configuration(compiler, machine):
        flags += NO_DEAD_STORE_ELIMINATION
    if compiler.kind in {"gcc", "clang"}:
        flags += (RECORD_SWITCHES,)
    return flags


def cmake_args(
    compiler: Compiler, machine: str, user_args: str = "", user_flags: str = ""
) -> tuple[str, ...]:
    """Return CMake's arguments: ours, then the user's (`$CMAKE_ARGS`), which win where both set a thing.

    C++ flags are joined rather than replaced, so that neither `-DCMAKE_CXX_FLAGS` nor `$CXXFLAGS`
    (`user_flags`), which CMake drops when the former is given, loses ours. The library for images (libmtmd)
    is built with them, without its videos, for which it would start other programs.
    """
    flags = all_cxx_flags(compiler, machine, user_args, user_flags)
    others = [argument for argument in shlex.split(user_args) if not _CXX_FLAGS.fullmatch(argument)]
    ours = [f"-DCMAKE_CXX_FLAGS={' '.join(flags)}"] if flags else []
    return (*ours, *IMAGE_LIBRARY, *others)


def all_cxx_flags(
    compiler: Compiler, machine: str, user_args: str = "", user_flags: str = ""
) -> tuple[str, ...]:
    """Return every C++ flag of a build: those it needs, `$CXXFLAGS`, and those in `$CMAKE_ARGS`."""
    matches = map(_CXX_FLAGS.fullmatch, shlex.split(user_args))
    in_args = [flag for match in matches if match for flag in match[1].split()]
    return (*cxx_flags(compiler, machine), *user_flags.split(), *in_args)


def _numbers(macros: Mapping[str, str], names: Sequence[str]) -> tuple[int, ...]:
    values = [macros.get(name, "").strip() for name in names]
    return tuple(int(value) for value in values if value.isdecimal())


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
    )
    return done.stdout
