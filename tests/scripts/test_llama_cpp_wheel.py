"""The build of the wheel leaves out what nothing here loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.llama_cpp_wheel import without_common

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
BINDINGS = """
cmake_minimum_required(VERSION 3.21)
project(bindings NONE)
set(LLAMA_BUILD_COMMON ON CACHE BOOL "as the bindings set it" FORCE)
add_subdirectory(llama.cpp)
"""
LLAMA_CPP = """
cmake_minimum_required(VERSION 3.14...3.28)
project("llama.cpp" NONE)
option(LLAMA_BUILD_COMMON "" ON)
message(STATUS "common: ${LLAMA_BUILD_COMMON}")
"""


@pytest.mark.parametrize("has_it", [True, False])
def test_the_library_for_programs_is_not_built(has_it: bool, tmp_path: Path) -> None:
    """The bindings force it on, and no argument by its name turns it off."""
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "CMakeLists.txt").write_text(BINDINGS)
    (tmp_path / "llama.cpp/CMakeLists.txt").write_text(LLAMA_CPP)
    argument = "-DLLAMA_BUILD_COMMON=OFF" if has_it else without_common(tmp_path)
    cmake = str(Path(sys.executable).with_name("cmake"))
    command = [cmake, "-S", str(tmp_path), "-B", str(tmp_path / "build"), argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"common: {'ON' if has_it else 'OFF'}" in done.stdout


@pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree")
def test_llama_cpp_and_its_bindings_are_as_the_build_takes_them() -> None:
    """The project's name, its option, and who forces it on."""
    assert SOURCES
    theirs = Path(SOURCES, "CMakeLists.txt").read_text()
    assert 'project("llama.cpp"' in theirs
    assert "if (LLAMA_BUILD_COMMON)\n    add_subdirectory(common)" in theirs
    assert (
        "set(LLAMA_BUILD_COMMON ON CACHE" in Path(SOURCES).parents[1].joinpath("CMakeLists.txt").read_text()
    )
