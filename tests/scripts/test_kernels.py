"""The build of the matrix kernels: what is compiled how, when again, and what a failure says."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from scripts import kernel_units, kernels
from scripts.compiler import find_compiler
from scripts.environment import ROOT
from scripts.kernels import LIBRARY, Build
from scripts.lockfile import Locked
from scripts.native_library import libraries_of
from scripts.steps import SetUpError

REQUIREMENT = Locked("llama-cpp-python", "0.3.36", ("00",), "text")
VERSION = "set(GGML_VERSION_MAJOR 1)\nset(GGML_VERSION_MINOR 22)\nset(GGML_VERSION_PATCH 3)\n"

pytestmark = pytest.mark.skipif(not kernels.is_supported(), reason="the kernels are built on Linux")


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """Sources of a library that is quickly compiled: it returns ggml's version."""
    folder = tmp_path / "native"
    folder.mkdir()
    (folder / "answer.h").write_text('extern "C" const char * version();\n')
    (folder / "answer.cpp").write_text(
        '#include "answer.h"\n#include <ggml_version_of.h>\n'
        'extern "C" const char * version() { return CORRAL_GGML_VERSION; }\n'
    )
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A tree in which ggml's headers and version lie where llama.cpp has them."""
    folder = tmp_path / "llama.cpp"
    (folder / "ggml/include").mkdir(parents=True)
    (folder / "ggml/CMakeLists.txt").write_text(VERSION)
    (folder / "ggml/include/ggml_version_of.h").write_text("")
    return folder


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A folder with a libggml-base.so to link with."""
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "libggml-base.so").symlink_to(libraries_of(Path(sys.executable)) / "libggml-base.so")
    return folder


def job(native: Path, tmp_path: Path, **environ: str) -> Build:
    path = {"PATH": environ.pop("PATH", "/usr/local/bin:/usr/bin:/bin")}
    return Build(REQUIREMENT, {**path, "XDG_CACHE_HOME": str(tmp_path), **environ}, native=native)


def test_every_source_of_the_library_has_its_flags() -> None:
    native = ROOT / kernels.NATIVE
    for machine in ("x86_64", "aarch64"):
        names = {unit.name for unit in kernel_units.units(native, machine)}
        assert {"plugin.cpp", "abi.cpp", "interface.cpp"} <= names
        assert {name for name in names if name.startswith("set_")} == set(kernel_units.sets_of(machine))
    assert kernel_units.flags_of("set_avx2.cpp", "x86_64") == ("-mavx2", "-mfma", "-mf16c")
    assert kernel_units.flags_of("plugin.cpp", "x86_64") == ()


def test_a_set_without_flags_is_no_guess(native: Path) -> None:
    (native / "set_new.cpp").write_text("")
    with pytest.raises(SetUpError, match=r"set_new\.cpp: no flags in scripts/kernel_units\.py"):
        kernel_units.units(native, "x86_64")


def test_a_set_that_the_compiler_does_not_know_is_left_out(
    native: Path,
    sources: Path,
    libraries: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (native / "set_new.cpp").write_text("no C++\n")
    sets = {"set_new.cpp": ("-mof-the-future",)}
    monkeypatch.setattr(kernel_units, "X86_SETS", sets)
    monkeypatch.setattr(kernel_units, "ARM_SETS", sets)
    assert LIBRARY.build(job(native, tmp_path), libraries, sources).is_file()
    assert "is too old for set_new.cpp" in capfd.readouterr().out


def test_a_hint_that_the_compiler_does_not_know_is_left_out(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_units, "HINTS", {"set_avx2.cpp": ("-fhint-of-the-future", "-fno-math-errno")})
    compiler = job(native, tmp_path).compiler
    assert kernel_units.hints_for(compiler, "set_avx2.cpp") == ("-fno-math-errno",)
    assert kernel_units.hints_for(compiler, "set_avx512.cpp") == ()


def test_a_build_is_made_once_and_again_for_other_sources_or_flags(
    native: Path, sources: Path, libraries: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = LIBRARY.build(job(native, tmp_path), libraries, sources)
    assert b"1.22.3" in first.read_bytes()
    assert "compiling the matrix kernels" in capfd.readouterr().out
    assert LIBRARY.build(job(native, tmp_path), libraries, sources) == first
    assert "compiling" not in capfd.readouterr().out
    others = {
        job(native, tmp_path, CXXFLAGS="-g").folder,
        job(native, tmp_path, CXX=f"{find_compiler().path} -pipe").folder,
        job(native, tmp_path, CMAKE_ARGS="-DCMAKE_CXX_FLAGS=-g1").folder,
        job(native, tmp_path, LDFLAGS="-s").folder,
    }
    (native / "answer.h").write_text('extern "C" const char * version(); // changed\n')
    others.add(job(native, tmp_path).folder)
    assert len({first.parent, *others}) == 6


def test_a_unit_that_does_not_compile_says_where_and_what_it_costs(
    native: Path, sources: Path, libraries: Path, tmp_path: Path
) -> None:
    (native / "broken.cpp").write_text("no C++\n")
    with pytest.raises(SetUpError) as error:
        LIBRARY.build(job(native, tmp_path), libraries, sources)
    assert "compiling broken.cpp failed" in str(error.value)
    assert "Corral works without it" in str(error.value)
    assert not list(tmp_path.glob("corral/wheels/*/kernels-*/*.so"))


def test_ggml_version_is_not_guessed(native: Path, sources: Path, libraries: Path, tmp_path: Path) -> None:
    (sources / "ggml/CMakeLists.txt").write_text("project(ggml VERSION 1.2.3)\n")
    with pytest.raises(SetUpError, match="ggml's version isn't where it was"):
        LIBRARY.build(job(native, tmp_path), libraries, sources)


@pytest.mark.parametrize(
    ("machine", "system", "expected"),
    [
        ("x86_64", "linux", True),
        ("aarch64", "linux", True),
        ("AMD64", "win32", False),
        ("arm64", "darwin", False),
        ("riscv64", "linux", False),
    ],
)
def test_where_they_are_built(machine: str, system: str, expected: bool) -> None:
    assert kernels.is_supported(machine, system) is expected


def test_where_they_are_not_built_it_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIBRARY.refusal() is None
    monkeypatch.setattr(kernels, "is_supported", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert LIBRARY.refusal() == "no matrix kernels for linux on riscv64"
