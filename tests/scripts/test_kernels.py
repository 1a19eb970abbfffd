"""The build of the matrix kernels: what is compiled how, when again, and what a failure leaves behind."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import environment, kernel_units, kernels
from scripts.compiler import find_compiler
from scripts.environment import ROOT, read_stamp, write_stamp
from scripts.kernels import Build, build, job_of, keep_up, put
from scripts.lockfile import Locked
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
    (folder / "libggml-base.so").symlink_to(kernels.libraries_of(Path(sys.executable)) / "libggml-base.so")
    return folder


def job(native: Path, tmp_path: Path, **environ: str) -> Build:
    path = {"PATH": environ.pop("PATH", "/usr/local/bin:/usr/bin:/bin")}
    return Build(
        REQUIREMENT, native, platform.machine(), {**path, "XDG_CACHE_HOME": str(tmp_path), **environ}
    )


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
    assert build(job(native, tmp_path), libraries, sources).is_file()
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
    first = build(job(native, tmp_path), libraries, sources)
    assert b"1.22.3" in first.read_bytes()
    assert "compiling the matrix kernels" in capfd.readouterr().out
    assert build(job(native, tmp_path), libraries, sources) == first
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
        build(job(native, tmp_path), libraries, sources)
    assert "compiling broken.cpp failed" in str(error.value)
    assert "Corral works without it" in str(error.value)
    assert not list(tmp_path.glob("corral/wheels/*/kernels-*/*.so"))


def test_ggml_version_is_not_guessed(native: Path, sources: Path, libraries: Path, tmp_path: Path) -> None:
    (sources / "ggml/CMakeLists.txt").write_text("project(ggml VERSION 1.2.3)\n")
    with pytest.raises(SetUpError, match="ggml's version isn't where it was"):
        build(job(native, tmp_path), libraries, sources)


def test_a_library_is_put_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    target = tmp_path / "target.so"
    target.write_text("old")
    put(tmp_path / "new", target)
    assert target.read_text() == "new"
    with pytest.raises(SetUpError, match="can't be written to"):
        put(tmp_path / "new", tmp_path / "none/target.so")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "target.so"]


class KeptUp:
    """An environment of which `keep_up` takes care, with builds that are only counted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.lib = folder / "lib"
        self.lib.mkdir(parents=True)
        self.built = folder / "built.so"
        self.built.write_text("library")
        self.failure: SetUpError | OSError | None = None
        self.n_builds = 0
        monkeypatch.setattr(kernels, "libraries_of", lambda _python: self.lib)
        monkeypatch.setattr(kernels, "unpack_sources", lambda _environ, _python: folder)
        monkeypatch.setattr(kernels, "build", self.build)
        write_stamp(folder, {"dev": "print", "cmake_args": ""})

    def build(self, *_: object) -> Path:
        self.n_builds += 1
        if self.failure is not None:
            raise self.failure
        return self.built

    def run(self, environ: Mapping[str, str]) -> None:
        keep_up(self.folder, {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **environ})

    @property
    def stamp(self) -> dict[str, str]:
        return read_stamp(self.folder)


@pytest.fixture
def kept_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptUp:
    return KeptUp(tmp_path / "venv", monkeypatch)


def test_the_second_time_costs_nothing_and_what_is_lost_comes_back(kept_up: KeptUp) -> None:
    kept_up.run({})
    target = kept_up.lib / kernels.LIBRARY
    assert target.read_text() == "library"
    assert kept_up.stamp["dev"] == "print"
    kept_up.run({})
    assert kept_up.n_builds == 1
    target.unlink()
    kept_up.run({})
    assert target.read_text() == "library"
    target.write_text("lib")  # cut off
    kept_up.run({})
    assert target.read_text() == "library"
    kept_up.run({"CXXFLAGS": "-g"})
    assert kept_up.n_builds == 4


def test_what_was_built_by_hand_is_kept(
    kept_up: KeptUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where set-up's own compiler failed: that is when one builds by hand with another."""
    purpose = replace(environment.PURPOSES["run"], folder=str(kept_up.folder))
    monkeypatch.setattr(environment, "PURPOSES", {**environment.PURPOSES, "run": purpose})
    kept_up.failure = SetUpError("compiling plugin.cpp failed")
    kept_up.run({})
    kept_up.failure = None
    assert kernels.main(["--out", str(tmp_path / "elsewhere.so")]) == 0
    assert "kernels_failure" in kept_up.stamp
    kept_up.built.write_text("by hand")
    assert kernels.main([]) == 0
    capsys.readouterr()
    kept_up.built.write_text("set-up's own")
    kept_up.run({})
    assert (kept_up.lib / kernels.LIBRARY).read_text() == "by hand"
    assert "warning" not in capsys.readouterr().out
    assert kept_up.stamp["dev"] == "print"


def test_a_failed_build_is_a_warning_each_time_and_tried_once(
    kept_up: KeptUp, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_up.failure = SetUpError("compiling plugin.cpp failed")
    for _ in range(2):
        kept_up.run({})
        assert "warning: no matrix kernels: compiling plugin.cpp failed" in capsys.readouterr().out
    assert kept_up.n_builds == 1
    kept_up.failure = None
    kept_up.run({"CXXFLAGS": "-g"})  # something has changed
    assert (kept_up.lib / kernels.LIBRARY).is_file()
    assert "kernels_failure" not in kept_up.stamp


def test_a_full_disk_is_a_warning(kept_up: KeptUp, capsys: pytest.CaptureFixture[str]) -> None:
    kept_up.failure = OSError(28, "No space left on device")
    kept_up.run({})
    assert "warning: no matrix kernels: [Errno 28] No space left" in capsys.readouterr().out


def test_no_compiler_is_a_warning(kept_up: KeptUp, capsys: pytest.CaptureFixture[str]) -> None:
    kept_up.run({"PATH": "/none"})
    assert "warning: no matrix kernels: no C++ compiler on PATH" in capsys.readouterr().out


def test_the_key_is_the_wheels_and_the_settings_are_the_stamps() -> None:
    stamp = {"cmake_args": "-DGGML_CUDA=on", "cxx": find_compiler().path}
    one = job_of({"PATH": "/usr/bin:/bin"}, stamp)
    assert one.environ["CMAKE_ARGS"] == "-DGGML_CUDA=on"
    assert one.compiler == [find_compiler().path]
    assert one.requirement.name == environment.BINDINGS
    assert json.dumps(one.flags) != "[]"


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
