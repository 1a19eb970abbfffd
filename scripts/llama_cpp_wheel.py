"""The llama-cpp-python wheel for this machine: from the cache, or compiled into it.

Called by `scripts.environment`. The sources are published without wheels, and the build depends on the
compiler and CPU at hand: see `scripts.compiler` for the flags and `scripts.wheel_cache` for what makes a
cached wheel fit.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from scripts import compiler, ninja_progress, wheel_cache
from scripts.lockfile import Locked
from scripts.steps import ProgressLine, SetUpError, run_step, say

BUILD_FIX = (
    "A compiler that lacks memory says 'Killed': set CMAKE_BUILD_PARALLEL_LEVEL=1. "
    "For a GPU build, check that its toolkit is installed. Then run the same command again."
)
DOWNLOAD_FIX = "Check the network and pip's settings (pip config list), then run the same command again."

WITHOUT_COMMON = "set(LLAMA_BUILD_COMMON OFF)\n"
"""CMake code that llama.cpp's project includes: its library for command-line programs isn't compiled.

The bindings ask for that library, which takes 57 of 140 steps and which nothing here loads, by a cached
variable that no argument can change. Without it a wheel does the same, so this is no part of its key.
"""

# What else reaches the compilers through the environment, and so belongs to a build's identity.
BUILD_VARIABLES = ("CC", "CFLAGS", "CUDAARCHS", "CUDACXX", "CUDAFLAGS", "CUDAHOSTCXX", "HIPCXX", "LDFLAGS")


def wheel_for(requirement: Locked, python: Path, environ: Mapping[str, str]) -> Path:
    """Return the wheel of `requirement` for this machine, compiled unless the cache has it.

    `python` belongs to an environment that has requirements-build.lock. Two set-ups at once build it once:
    the second waits. Raises SetUpError.
    """
    key = key_of(requirement, environ)
    folder = folder_of(key, environ)
    with locked(folder):
        wheel = wheel_cache.find_wheel(folder)
        if wheel is not None:
            return wheel
        args = _cmake_args(compiler.find_compiler(environ), environ)
        say(f"{requirement.name} {requirement.version}: {key.compiler}, {shlex.join(args)}")
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as work:
            sdist = sdist_of(requirement, python, environ)
            all_args = shlex.join([without_common(Path(work)), *args])
            built = _build(
                sdist, Path(work), folder / "build.log", python, {**environ, "CMAKE_ARGS": all_args}
            )
            (folder / "key.json").write_text(json.dumps(asdict(key), indent=1) + "\n", encoding="utf-8")
            return built.rename(folder / built.name)


def without_common(work: Path) -> str:
    """Write WITHOUT_COMMON to a file in `work`; return the argument of CMake that has it included."""
    path = work / "without_common.cmake"
    path.write_text(WITHOUT_COMMON, encoding="utf-8")
    return f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={path}"


def key_of(requirement: Locked, environ: Mapping[str, str]) -> wheel_cache.WheelKey:
    """Return the key of the wheel that `wheel_for` would build. Raises SetUpError: there is no compiler."""
    try:
        cxx = compiler.find_compiler(environ)
    except compiler.CompilerMissing as error:
        raise SetUpError(str(error)) from None
    variables = tuple(f"{name}={environ[name]}" for name in BUILD_VARIABLES if environ.get(name))
    return wheel_cache.make_key(
        (requirement.name, requirement.version, requirement.digests),
        cxx,
        wheel_cache.cpu_identity(),
        _cmake_args(cxx, environ) + variables,
    )


def folder_of(key: wheel_cache.WheelKey, environ: Mapping[str, str]) -> Path:
    """Return the folder in the cache for what is built under `key`."""
    return wheel_cache.cache_root(environ) / key.digest()


def _cmake_args(cxx: compiler.Compiler, environ: Mapping[str, str]) -> tuple[str, ...]:
    user_args, user_flags = environ.get("CMAKE_ARGS", ""), environ.get("CXXFLAGS", "")
    return compiler.cmake_args(cxx, platform.machine(), user_args, user_flags)


def sdist_of(requirement: Locked, python: Path, environ: Mapping[str, str]) -> Path:
    """Return the source archive of `requirement`, sha256-checked against the lock.

    From the cache or downloaded into it.
    """
    folder = wheel_cache.cache_root(environ).parent / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{requirement.name.replace('-', '_')}-{requirement.version}.tar.gz"
    path = folder / name
    if path.is_file() and _sha256(path) in requirement.digests:
        return path
    print(f"downloading {name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="downloading-", dir=folder) as work:
        lock = Path(work) / "one.lock"
        lock.write_text(requirement.text, encoding="utf-8")
        command = [
            str(python),
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-input",
            "--no-deps",
            "--require-hashes",
        ]
        command += ["--no-binary=:all:", "--no-build-isolation", "--dest", work, "--requirement", str(lock)]
        run_step(f"downloading {name}", command, folder / "download.log", DOWNLOAD_FIX, environ=environ)
        return (Path(work) / name).rename(path)


def _build(sdist: Path, work: Path, log: Path, python: Path, environ: Mapping[str, str]) -> Path:
    """Compile `sdist` in `work`, showing progress.

    pip's own wheel cache is off: it knows nothing of CMake's arguments.
    """
    log.unlink(missing_ok=True)
    line = ProgressLine()
    line.show("compiling llama.cpp: configuring; a few minutes on two cores, once per machine")

    def show(text: str) -> None:
        progress = ninja_progress.parse(text)
        if progress is not None:
            line.show(progress.describe(line.elapsed_s()))

    command = [
        str(python),
        "-m",
        "pip",
        "wheel",
        "--verbose",
        "--no-input",
        "--no-deps",
        "--no-build-isolation",
    ]
    command += ["--no-cache-dir", "--wheel-dir", str(work), str(sdist)]
    tools = {**environ, "PATH": f"{python.parent}{os.pathsep}{environ.get('PATH', '')}"}
    run_step("compiling llama.cpp", command, log, BUILD_FIX, environ=tools, on_line=show)
    wheel = wheel_cache.find_wheel(work)
    if wheel is None:
        raise SetUpError(f"pip built no wheel of {sdist.name}; log: {log}")
    line.end(f"compiled llama.cpp in {ninja_progress.duration(line.elapsed_s())}: {wheel.name}")
    return wheel


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel gives it back when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up that compiles the same wheel")
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in folder.glob("building-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
