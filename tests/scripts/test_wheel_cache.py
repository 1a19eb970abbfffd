"""A cached wheel is taken only where everything that went into it is the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.compiler import Compiler
from scripts.wheel_cache import cache_root, cpu_identity, find_wheel, make_key, parse_cpuinfo

GCC = Compiler("/usr/bin/c++", "gcc", (12, 2, 0))
REQUIREMENT = ("llama-cpp-python", "0.3.36", ("b" * 64, "a" * 64))
KEY = make_key(REQUIREMENT, GCC, "cpu", ["-DLLAVA_BUILD=OFF"])

CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum
stepping\t: 8
cpu MHz\t\t: 2000.000
flags\t\t: fpu avx2 {more}
bugs\t\t: spectre_v1
bogomips\t: 4000.00

processor\t: 1
flags\t\t: other
"""


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.3.37"},
        {"sdist_sha256": ("c" * 64,)},
        {"platform": "linux-aarch64-glibc-2.36"},
        {"compiler": "gcc 12.4.0 (/usr/bin/c++)"},
        {"cpu": "another"},
        {"cmake_args": ("-DGGML_CUDA=on",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_key_counts(change: dict[str, object]) -> None:
    other = dataclasses.replace(KEY, **change)  # type: ignore[arg-type]
    assert other.digest() != KEY.digest()


def test_a_key_is_stable_and_fit_for_a_folder_name() -> None:
    again = make_key((*REQUIREMENT[:2], ("a" * 64, "b" * 64)), GCC, "cpu", ("-DLLAVA_BUILD=OFF",))
    assert again.digest() == KEY.digest()
    assert len(KEY.digest()) == 24
    assert int(KEY.digest(), 16) >= 0


def test_the_order_of_cmake_arguments_counts() -> None:
    one, other = (
        make_key(REQUIREMENT, GCC, "cpu", args) for args in (["-DA=1", "-DA=2"], ["-DA=2", "-DA=1"])
    )
    assert one.digest() != other.digest()


def test_cache_root() -> None:
    assert cache_root({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/corral/wheels")
    assert cache_root({"HOME": "/h"}) == Path("/h/.cache/corral/wheels")
    assert cache_root({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/corral/wheels")


def test_cpu_identity_sees_features_of_the_first_processor_only() -> None:
    plain, amx = (parse_cpuinfo(CPUINFO.format(more=more)) for more in ("", "amx_tile"))
    assert plain != amx
    assert "amx_tile" in amx
    assert "model=143" in plain
    assert "other" not in plain


def test_cpu_identity_is_the_same_after_a_reboot() -> None:
    text = CPUINFO.format(more="sse2")
    moved = (
        text.replace("2000.000", "3100.000").replace("4000.00", "4000.02").replace("spectre_v1", "spectre_v2")
    )
    assert parse_cpuinfo(moved.replace("fpu avx2 sse2", "sse2 fpu avx2")) == parse_cpuinfo(text)


def test_cpu_identity_without_cpuinfo(tmp_path: Path) -> None:
    assert cpu_identity(tmp_path / "absent")


def test_find_wheel(tmp_path: Path) -> None:
    assert find_wheel(tmp_path) is None
    (tmp_path / "build.log").touch()
    assert find_wheel(tmp_path) is None
    wheel = tmp_path / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
    wheel.touch()
    assert find_wheel(tmp_path) == wheel
