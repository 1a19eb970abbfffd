"""The builds of Corral's peers: llama-server from the bindings' sources, ik_llama.cpp from a folder.

llama-server has the bindings' flags, ik_llama.cpp its project's own. Everything goes to the cache outside the
tree, llama-server keyed like the bindings' wheel: another compiler or other flags make another build.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts import compiler, ninja_progress, wheel_cache
from scripts.environment import ROOT, set_up
from scripts.llama_cpp_wheel import BUILD_FIX, BUILD_VARIABLES
from scripts.steps import ProgressLine, SetUpError, run_step

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)

IK_VARIABLE = "CORRAL_IK_LLAMA_CPP_SOURCE"
"""It names the folder of ik_llama.cpp's sources where --ik-source doesn't."""
IK_PARTS = ("CMakeLists.txt", "ggml/src/iqk")
"""ik_llama.cpp has these; the second is what llama.cpp lacks."""
IK_SERVER_OPTION = "-DLLAMA_BUILD_EXAMPLES=ON"
"""Its server is one of its examples."""


def build_arguments(cxx: compiler.Compiler, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return CMake's arguments of the bindings' build, without those that only the bindings know."""
    arguments = compiler.cmake_args(
        cxx, platform.machine(), environ.get("CMAKE_ARGS", ""), environ.get("CXXFLAGS", "")
    )
    return tuple(one for one in arguments if not one.startswith(("-DLLAVA_BUILD", "-DMTMD_VIDEO")))


def build_folder(sources: Path, cxx: compiler.Compiler, environ: Mapping[str, str]) -> Path:
    """Return the folder of this build in the cache."""
    variables = [f"{name}={environ[name]}" for name in BUILD_VARIABLES if environ.get(name)]
    identity = [sources.parent.parent.name, str(cxx), wheel_cache.cpu_identity(), *OPTIONS, *variables]
    key = hashlib.sha256("\0".join([*identity, *build_arguments(cxx, environ)]).encode()).hexdigest()
    return wheel_cache.cache_root(environ).parent / "llama-server" / key[:24]


def llama_server(
    sources: Path, environ: Mapping[str, str] = os.environ, tools: Path = Path(sys.executable).parent
) -> Path:
    """Return the llama-server of `sources`, built at the first call (about ten minutes on two cores).

    `tools` is the folder of cmake and ninja, which requirements-build.lock brings. What an interrupted build
    left is used. Raises SetUpError or CompilerMissing.
    """
    return _program("llama-server", "finished", sources, environ, tools)


def llama_quantize(
    sources: Path, environ: Mapping[str, str] = os.environ, tools: Path = Path(sys.executable).parent
) -> Path:
    """Return the llama-quantize of the same build; see `llama_server`."""
    return _program("llama-quantize", "finished-llama-quantize", sources, environ, tools)


def llama_tools(
    sources: Path, environ: Mapping[str, str] = os.environ, tools: Path = Path(sys.executable).parent
) -> Path:
    """Return the folder of the same build's tools that tests compare with; see `llama_server`."""
    names = ("llama-imatrix", "llama-perplexity")
    programs = [_program(name, f"finished-{name}", sources, environ, tools) for name in names]
    return programs[0].parent


def _program(name: str, marker: str, sources: Path, environ: Mapping[str, str], tools: Path) -> Path:
    cxx = compiler.find_compiler(environ)
    build = build_folder(sources, cxx, environ)
    finished = build / marker
    binary = build / "bin" / name
    if finished.exists() and binary.exists():
        return binary
    line = ProgressLine()
    line.show(f"building {name} in {build}: up to ten minutes on two cores, once per machine")
    _build(name, sources, build, build_arguments(cxx, environ), environ, tools, line)
    finished.touch()
    return binary


def _build(
    name: str,
    sources: Path,
    build: Path,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    tools: Path,
    line: ProgressLine,
) -> Path:
    """Return the program `name`, configured and built."""
    building = {**environ, "PATH": f"{tools}{os.pathsep}{environ.get('PATH', '')}"}
    configure = ["cmake", "-G", "Ninja", "-S", str(sources), "-B", str(build), *OPTIONS, *arguments]
    _step(configure, build, building, line)
    _step(["cmake", "--build", str(build), "--target", name], build, building, line)
    binary = build / "bin" / name
    line.end(f"built {name} in {ninja_progress.duration(line.elapsed_s())}: {binary}")
    return binary


def ik_llama_server(
    sources: Path, environ: Mapping[str, str] = os.environ, tools: Path = Path(sys.executable).parent
) -> Path:
    """Return the llama-server of the ik_llama.cpp in the folder `sources`, as its project builds it.

    Nothing is fetched. What has changed there since the last call is built. Raises SetUpError or
    CompilerMissing.
    """
    if not sources.is_dir():
        raise SetUpError(f"{sources} is no folder; name one with the sources of ik_llama.cpp ({IK_VARIABLE})")
    if not all((sources / part).exists() for part in IK_PARTS):
        raise SetUpError(
            f"{sources} has no {' and '.join(IK_PARTS)}, so it isn't ik_llama.cpp; name its top folder"
        )
    cxx = compiler.find_compiler(environ)
    key = hashlib.sha256("\0".join([str(sources.resolve()), str(cxx), *OPTIONS]).encode()).hexdigest()
    build = wheel_cache.cache_root(environ).parent / "ik-llama-server" / key[:24]
    line = ProgressLine()
    line.show(f"building ik_llama.cpp in {build}: up to half an hour on two cores the first time")
    arguments = (f"-DCMAKE_CXX_COMPILER={cxx.path}", IK_SERVER_OPTION)
    return _build("llama-server", sources, build, arguments, environ, tools, line)


def llama_cpp_python(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the Python of an environment with llama-cpp-python's server, set up at the first call.

    Raises SetUpError.
    """
    set_up("peer", environ)
    return ROOT / ".venv-peer" / "bin" / "python"


def _step(command: Sequence[str], build: Path, environ: Mapping[str, str], line: ProgressLine) -> None:
    def show(text: str) -> None:
        progress = ninja_progress.parse(text)
        if progress is not None:
            line.show(progress.describe(line.elapsed_s()))

    log = build.with_suffix(".log")
    run_step("building llama.cpp", command, log, BUILD_FIX, environ=environ, on_line=show)
