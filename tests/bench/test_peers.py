from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench import peers
from scripts.compiler import IMAGE_LIBRARY, Compiler, cmake_args
from scripts.steps import SetUpError

GCC = Compiler("/usr/bin/c++", "gcc", (12, 2, 0))
SOURCES = Path("/cache/llama_cpp_python-1.2/vendor/llama.cpp")


def test_the_flags_are_the_bindings_flags() -> None:
    environ = {"CMAKE_ARGS": "-DGGML_CUDA=on -DCMAKE_CXX_FLAGS=-g", "CXXFLAGS": "-O2"}
    theirs = set(cmake_args(GCC, "x86_64", environ["CMAKE_ARGS"], environ["CXXFLAGS"]))
    assert theirs - set(peers.build_arguments(GCC, environ)) == set(IMAGE_LIBRARY)
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


def stand_ins(folder: Path) -> tuple[Path, Path, dict[str, str]]:
    """A folder with stand-ins for CMake and the compiler, the file where they write what they are told, and
    an environment with them.
    """
    tools, log = folder / "tools", folder / "calls"
    tools.mkdir()
    for name, body in {
        "c++": "echo '#define __GNUC__ 14\n#define __GNUC_MINOR__ 1\n#define __GNUC_PATCHLEVEL__ 0'",
        "cmake": f'echo "$@" >> {shlex.quote(str(log))}; echo "[1/2] Building"; for a; do '
        'case "$a" in */*llama-server/*) mkdir -p "$a/bin" && touch "$a/bin/llama-server";; esac; done',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    return tools, log, {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder), "CXX": str(tools / "c++")}


def test_it_is_built_once_with_the_tools_of_this_environment(tmp_path: Path) -> None:
    tools, log, environ = stand_ins(tmp_path)
    found = peers.llama_server(SOURCES, environ, tools)
    calls = log.read_text().splitlines()
    assert len(calls) == 2
    assert f"-S {SOURCES}" in calls[0]
    assert calls[1].endswith("--target llama-server")
    assert found.is_file()
    assert peers.llama_server(SOURCES, environ, tools) == found
    assert len(log.read_text().splitlines()) == 2


def test_ik_llama_cpp_is_built_from_its_folder_each_time_anew(tmp_path: Path) -> None:
    tools, log, environ = stand_ins(tmp_path)
    sources = tmp_path / "ik"
    (sources / "ggml/src/iqk").mkdir(parents=True)
    (sources / "CMakeLists.txt").touch()
    found = peers.ik_llama_server(sources, environ, tools)
    assert found.is_file()
    assert peers.ik_llama_server(sources, environ, tools) == found  # what has changed is built
    calls = log.read_text().splitlines()
    assert len(calls) == 4
    assert f"-S {sources}" in calls[0]
    assert "CMAKE_CXX_FLAGS" not in calls[0]
    assert calls[1].endswith("--target llama-server")
    assert found.is_relative_to(tmp_path / ".cache/corral/ik-llama-server")
    assert not found.is_relative_to(sources)


def test_what_is_not_ik_llama_cpp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetUpError, match=r"ik is no folder; name one with the sources of ik_llama\.cpp"):
        peers.ik_llama_server(tmp_path / "ik")
    (tmp_path / "CMakeLists.txt").touch()  # as llama.cpp has one
    with pytest.raises(SetUpError, match=r"iqk, so it isn't ik_llama\.cpp; name its top folder"):
        peers.ik_llama_server(tmp_path)


def test_the_command_line_refuses_a_missing_folder(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    environ = {**os.environ, "HOME": str(tmp_path), peers.IK_VARIABLE: str(missing)}
    environ["CORRAL_LLAMA_CPP_SOURCE"] = str(SOURCES)
    command = [sys.executable, "-m", "bench", "--llama-server", "/bin/true", "--results", str(tmp_path / "r")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"{missing} is no folder")
