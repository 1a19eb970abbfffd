from __future__ import annotations

import shlex
from pathlib import Path

from bench import peers
from scripts.compiler import Compiler, cmake_args

GCC = Compiler("/usr/bin/c++", "gcc", (12, 2, 0))
SOURCES = Path("/cache/llama_cpp_python-1.2/vendor/llama.cpp")


def test_the_flags_are_the_bindings_flags() -> None:
    environ = {"CMAKE_ARGS": "-DGGML_CUDA=on -DCMAKE_CXX_FLAGS=-g", "CXXFLAGS": "-O2"}
    theirs = set(cmake_args(GCC, "x86_64", environ["CMAKE_ARGS"], environ["CXXFLAGS"]))
    assert theirs - set(peers.build_arguments(GCC, environ)) == {"-DLLAVA_BUILD=OFF"}
    assert set(peers.build_arguments(GCC, environ)) <= theirs


def test_what_goes_into_a_build_decides_its_folder() -> None:
    environ = {"HOME": "/home/x"}
    folders = {
        peers.build_folder(SOURCES, GCC, environ),
        peers.build_folder(SOURCES, GCC, {**environ, "CMAKE_ARGS": "-DGGML_CUDA=on"}),
        peers.build_folder(SOURCES, GCC, {**environ, "CFLAGS": "-O1"}),
        peers.build_folder(SOURCES, Compiler("/usr/bin/c++", "gcc", (14, 1, 0)), environ),
        peers.build_folder(Path("/cache/llama_cpp_python-1.3/vendor/llama.cpp"), GCC, environ),
    }
    assert len(folders) == 5
    assert {folder.parent for folder in folders} == {Path("/home/x/.cache/corral/llama-server")}


def test_it_is_built_once_with_the_tools_of_this_environment(tmp_path: Path) -> None:
    """With stand-ins for CMake and the compiler, which write down what they are told."""
    tools = tmp_path / "tools"
    tools.mkdir()
    log = tmp_path / "calls"
    for name, body in {
        "c++": "echo '#define __GNUC__ 14\n#define __GNUC_MINOR__ 1\n#define __GNUC_PATCHLEVEL__ 0'",
        "cmake": f'echo "$@" >> {shlex.quote(str(log))}; echo "[1/2] Building"; for a; do '
        'case "$a" in */llama-server/*) mkdir -p "$a/bin" && touch "$a/bin/llama-server";; esac; done',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    environ = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(tmp_path), "CXX": str(tools / "c++")}
    found = peers.llama_server(SOURCES, environ, tools)
    calls = log.read_text().splitlines()
    assert len(calls) == 2
    assert f"-S {SOURCES}" in calls[0]
    assert calls[1].endswith("--target llama-server")
    assert found.is_file()
    assert peers.llama_server(SOURCES, environ, tools) == found
    assert len(log.read_text().splitlines()) == 2
