from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from models.doctor.amx_trap import (
    Finding,
    check_amx,
    cpu_libraries,
    gcc_version,
    has_fault,
    judge,
    library_directory,
)
from models.doctor.check import Status
from models.doctor.elf import LibraryBuild, read_build

DEBIAN_12 = "GCC: (Debian 12.2.0-14+deb12u1) 12.2.0"


UBUNTU_24 = "GCC: (Ubuntu 13.2.0-23ubuntu4) 13.2.0"


# ggml's tile configuration, as ggml/src/ggml-cpu/amx/mmq.cpp fills it.
SOURCE = """
#include <immintrin.h>
#include <stdint.h>
struct tile_config_t { uint8_t palette_id, start_row, reserved[14]; uint16_t colsb[16]; uint8_t rows[16]; };
extern "C" void configure(void) {
    alignas(64) tile_config_t tc = {};
    tc.palette_id = 1;
    const int columns[8] = {64, 64, 32, 32, 64, 64, 64, 64};
    for (int i = 0; i < 8; i++) { tc.rows[i] = i < 2 ? 8 : 16; tc.colsb[i] = columns[i]; }
#ifndef NO_TILES
    _tile_loadconfig(&tc);
#endif
}
"""


GCC = shutil.which("g++")


on_x86_with_gcc = pytest.mark.skipif(
    GCC is None or platform.machine() != "x86_64" or platform.system() != "Linux",
    reason="needs g++ on x86-64 Linux: other machines have no AMX",
)


def build(
    *,
    compilers: tuple[str, ...] = (DEBIAN_12,),
    switches: tuple[str, ...] = (),
    has_tile_code: bool = True,
    stores_tile_columns: bool = False,
) -> LibraryBuild:
    return LibraryBuild(Path("libggml-cpu.so"), compilers, switches, has_tile_code, stores_tile_columns)


def switches(version: str, *flags: str) -> str:
    return " ".join(["GNU C++17", version, "-march=native", "-O3", *flags])


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        (build(), Finding.TRAP),
        (build(has_tile_code=False), Finding.NO_AMX),
        (build(stores_tile_columns=True), Finding.KEPT),
        (build(compilers=(UBUNTU_24,)), Finding.TRAP),
        (build(compilers=("GCC: (Ubuntu 13.3.0-6ubuntu2) 13.3.0",)), Finding.FIXED_COMPILER),
        (build(compilers=("GCC: (GNU) 14.2.1 20240912",)), Finding.FIXED_COMPILER),
        (build(compilers=(DEBIAN_12, "GCC: (GNU) 14.2.0")), Finding.UNSURE),
        (build(compilers=(DEBIAN_12, "Debian clang version 14.0.6")), Finding.FIXED_COMPILER),
        (build(compilers=()), Finding.UNSURE),
        (build(switches=(switches("12.2.0"),)), Finding.TRAP),
        (build(switches=(switches("12.2.0", "-fno-tree-dse"),)), Finding.FIXED_SWITCHES),
        # The switch on some sources only, or for C alone, doesn't help.
        (build(switches=(switches("12.2.0", "-fno-tree-dse"), switches("12.2.0"))), Finding.TRAP),
        (build(switches=("GNU C11 12.2.0 -O3 -fno-tree-dse", switches("12.2.0"))), Finding.TRAP),
        # The start files are the distribution's; the sources' own compiler is the recorded one.
        (build(switches=(switches("14.2.0"),)), Finding.FIXED_COMPILER),
    ],
)
def test_the_finding(found: LibraryBuild, finding: Finding) -> None:
    assert judge(found) is finding


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ((11, 4), True),
        ((12, 2), True),
        ((12, 3), True),
        ((12, 4), False),
        ((13, 0), True),
        ((13, 2), True),
        ((13, 3), False),
        ((14, 1), False),
    ],
)
def test_versions_with_the_fault(version: tuple[int, int], fault: bool) -> None:
    assert has_fault(version) is fault


@pytest.mark.parametrize(
    ("line", "version"),
    [
        (DEBIAN_12, (12, 2)),
        (switches("12.2.0"), (12, 2)),
        ("GCC: (GNU) 8.5.0 20210514 (Red Hat 8.5.0-22)", (8, 5)),
        ("GCC: (crosstool-NG 1.26.0) unknown", None),
    ],
)
def test_versions_are_read(line: str, version: tuple[int, int] | None) -> None:
    assert gcc_version(line) == version


def compile_library(directory: Path, *flags: str) -> Path:
    assert GCC is not None
    directory.mkdir()
    source = directory / "tile.cpp"
    source.write_text(SOURCE)
    library = directory / "libggml-cpu.so"
    command = [
        GCC,
        "-shared",
        "-fPIC",
        "-O3",
        "-mavx512f",
        "-mamx-tile",
        *flags,
        "-o",
        str(library),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=60)
    return library


def installed_gcc() -> tuple[int, int]:
    assert GCC is not None
    text = subprocess.run([GCC, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


@on_x86_with_gcc
def test_a_library_of_this_compiler_is_judged_by_its_code(tmp_path: Path) -> None:
    plain = read_build(compile_library(tmp_path / "plain"))
    kept = read_build(
        compile_library(tmp_path / "kept", "-fno-tree-dse", "-fno-dse", "-frecord-gcc-switches")
    )
    assert plain is not None
    assert kept is not None
    assert plain.has_tile_code
    assert kept.has_tile_code
    assert judge(kept) in {Finding.KEPT, Finding.FIXED_SWITCHES, Finding.FIXED_COMPILER}
    assert any("-fno-tree-dse" in line for line in kept.switches)
    if has_fault(installed_gcc()):
        assert not plain.stores_tile_columns
        assert judge(plain) is Finding.TRAP
    else:
        assert judge(plain) in {Finding.KEPT, Finding.FIXED_COMPILER}


@on_x86_with_gcc
def test_code_without_tiles(tmp_path: Path) -> None:
    found = read_build(compile_library(tmp_path / "none", "-DNO_TILES"))
    assert found is not None
    assert judge(found) is Finding.NO_AMX


@on_x86_with_gcc
def test_the_trap_is_named_by_its_severity(tmp_path: Path) -> None:
    directory = compile_library(tmp_path / "lib").parent
    if not has_fault(installed_gcc()):
        assert check_amx(directory, cpu_has_amx=True).status is Status.OK
        return
    here = check_amx(directory, cpu_has_amx=True)
    assert here.status is Status.FAIL
    assert "libggml-cpu.so has the AMX trap" in here.fact
    assert "SIGSEGV" in here.fact
    assert here.fix is not None
    assert "make setup" in here.fix
    elsewhere = check_amx(directory, cpu_has_amx=False)
    assert elsewhere.status is Status.WARNING
    assert "this one has none" in elsewhere.fact


def test_no_library_of_this_kind_is_fine(tmp_path: Path) -> None:
    assert check_amx(tmp_path, cpu_has_amx=True).status is Status.OK


def test_which_libraries_are_looked_at(tmp_path: Path) -> None:
    for name in ("libllama.so", "libggml-base.so"):
        (tmp_path / name).touch()
    assert [path.name for path in cpu_libraries(tmp_path)] == ["libllama.so"]
    for name in ("libggml-cpu-zen4.so", "libggml-cpu-sapphirerapids.so"):
        (tmp_path / name).touch()
    assert [path.name for path in cpu_libraries(tmp_path)] == [
        "libggml-cpu-sapphirerapids.so",
        "libggml-cpu-zen4.so",
    ]


def test_where_the_libraries_are() -> None:
    assert library_directory({"LLAMA_CPP_LIB_PATH": "/opt/llama"}) == Path("/opt/llama")
    found = library_directory({})
    assert found is not None
    assert cpu_libraries(found)


BUILDS = os.environ.get("CORRAL_AMX_BUILDS")


@pytest.mark.skipif(
    not BUILDS, reason="set CORRAL_AMX_BUILDS to a folder with trap/ and safe/ builds of ggml-cpu"
)
def test_real_builds() -> None:
    assert BUILDS is not None
    assert check_amx(Path(BUILDS, "trap"), cpu_has_amx=True).status is Status.FAIL
    assert check_amx(Path(BUILDS, "safe"), cpu_has_amx=True).status is Status.OK
