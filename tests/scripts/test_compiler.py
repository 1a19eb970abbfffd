"""The flags of the llama.cpp build: GCC PR 114098, and a user's own CMake arguments."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from scripts.compiler import (
    Compiler,
    CompilerMissing,
    cmake_args,
    cxx_flags,
    drops_tile_configuration,
    find_compiler,
    parse_macros,
)

DEBIAN_12 = Compiler("/usr/bin/c++", "gcc", (12, 2, 0))
CLANG = Compiler("/usr/bin/clang++", "clang", (16, 0, 6))


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((11, 4, 0), True),
        ((12, 2, 0), True),
        ((12, 3, 0), True),
        ((12, 4, 0), False),
        ((12, 5, 0), False),
        ((13, 0, 0), True),
        ((13, 2, 0), True),
        ((13, 3, 0), False),
        ((14, 1, 0), False),
        ((15, 1, 1), False),
    ],
)
def test_gcc_versions_that_drop_the_tile_configuration(version: tuple[int, ...], affected: bool) -> None:
    compiler = Compiler("g++", "gcc", version)
    assert drops_tile_configuration(compiler, "x86_64") is affected
    assert ("-fno-tree-dse" in cxx_flags(compiler, "x86_64")) is affected
    assert ("-fno-dse" in cxx_flags(compiler, "x86_64")) is affected


def test_a_gcc_that_tells_no_version_is_taken_for_an_affected_one() -> None:
    assert drops_tile_configuration(Compiler("g++", "gcc", ()), "x86_64")


@pytest.mark.parametrize("machine", ["aarch64", "arm64", "ppc64le"])
def test_other_machines_have_no_amx(machine: str) -> None:
    assert not drops_tile_configuration(DEBIAN_12, machine)


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_clang_is_right(machine: str) -> None:
    assert not drops_tile_configuration(CLANG, machine)
    assert cxx_flags(CLANG, machine) == ("-frecord-gcc-switches",)


def test_an_unknown_compiler_gets_no_flags() -> None:
    other = Compiler("/opt/icpc", "other", ())
    assert cmake_args(other, "x86_64") == ("-DLLAVA_BUILD=ON", "-DMTMD_VIDEO=OFF")


def test_switches_are_recorded_for_doctor() -> None:
    assert cxx_flags(DEBIAN_12, "x86_64") == ("-fno-tree-dse", "-fno-dse", "-frecord-gcc-switches")


def test_cmake_arguments() -> None:
    assert cmake_args(DEBIAN_12, "x86_64") == (
        "-DCMAKE_CXX_FLAGS=-fno-tree-dse -fno-dse -frecord-gcc-switches",
        "-DLLAVA_BUILD=ON",
        "-DMTMD_VIDEO=OFF",
    )


def test_a_users_arguments_come_last_so_that_they_win() -> None:
    args = cmake_args(CLANG, "x86_64", "-DGGML_CUDA=on -DLLAVA_BUILD=OFF -DX='a b'")
    assert args[-3:] == ("-DGGML_CUDA=on", "-DLLAVA_BUILD=OFF", "-DX=a b")


@pytest.mark.parametrize("spelling", ["-DCMAKE_CXX_FLAGS='-O2 -g'", "'-DCMAKE_CXX_FLAGS:STRING=-O2 -g'"])
def test_a_users_cxx_flags_dont_lose_ours(spelling: str) -> None:
    args = cmake_args(DEBIAN_12, "x86_64", f"{spelling} -DGGML_CUDA=on", "-Wall")
    assert args == (
        "-DCMAKE_CXX_FLAGS=-fno-tree-dse -fno-dse -frecord-gcc-switches -Wall -O2 -g",
        "-DLLAVA_BUILD=ON",
        "-DMTMD_VIDEO=OFF",
        "-DGGML_CUDA=on",
    )


def test_clang_is_not_taken_for_the_gcc_it_claims_to_be() -> None:
    text = "#define __GNUC__ 4\n#define __GNUC_MINOR__ 2\n#define __clang__ 1\n#define __clang_major__ 16\n"
    text += "#define __clang_minor__ 0\n#define __clang_patchlevel__ 6\n"
    assert parse_macros(text) == ("clang", (16, 0, 6))


def test_gcc_macros() -> None:
    text = "#define __GNUC__ 12\n#define __GNUC_MINOR__ 2\n#define __GNUC_PATCHLEVEL__ 0\n"
    assert parse_macros(text) == ("gcc", (12, 2, 0))
    assert parse_macros("") == ("other", ())


def test_cxx_names_the_compiler(tmp_path: Path) -> None:
    path = tmp_path / "my-c++"
    path.write_text("#!/bin/sh\necho '#define __GNUC__ 13'\necho '#define __GNUC_MINOR__ 1'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert find_compiler({"CXX": f"{path} -m64", "PATH": ""}) == Compiler(str(path), "gcc", (13, 1))


def test_a_missing_compiler_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CompilerMissing, match=r"^no C\+\+ compiler on PATH.*apt-get install g\+\+") as caught:
        find_compiler({"PATH": str(tmp_path)})
    assert "\n" not in str(caught.value)
    with pytest.raises(CompilerMissing, match=r"\$CXX names no-such-c\+\+"):
        find_compiler({"CXX": "no-such-c++", "PATH": str(tmp_path)})
