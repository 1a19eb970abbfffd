"""Tests of what is seen of a shared library's file without opening it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from models.errors import LlamaCppError
from models.llamacpp.kernel_library import default_path
from models.llamacpp.library_file import check_library_file

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="the libraries are Linux's")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of a library of llama.cpp's."""
    copy = tmp_path / "library.so"
    copy.write_bytes(default_path().with_name("libggml.so").read_bytes())
    return copy


def test_a_whole_library_passes(library: Path) -> None:
    check_library_file(library)
    check_library_file(library, platform.machine().upper())
    with library.open("ab") as file:
        file.write(b"more")
    check_library_file(library)


@pytest.mark.parametrize("part", [0.002, 0.1, 0.5, 0.9, 0.999])
def test_one_that_ends_too_early_is_told_by_its_headers(library: Path, part: float) -> None:
    content = library.read_bytes()
    library.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(
        LlamaCppError, match=rf"library\.so isn't whole: it has [\d,]+ of {len(content):,} bytes"
    ):
        check_library_file(library)


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_without_a_table_of_sections_the_segments_count(library: Path, part: float) -> None:
    content = bytearray(library.read_bytes())
    content[0x28:0x30] = bytes(8)  # where the table lies
    content[0x3C:0x3E] = bytes(2)  # its entries
    library.write_bytes(content)
    check_library_file(library)
    library.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(LlamaCppError, match="isn't whole"):
        check_library_file(library)


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (4, 1, "is no shared library of 64 bits"),
        (5, 2, "is no shared library of 64 bits"),
        (16, 2, "is no shared library of 64 bits"),
        (18, 243, "is for machine 243, and this machine is "),
        (1, 0, "is no shared library$"),
    ],
)
def test_a_library_of_another_kind_is_named(library: Path, at: int, value: int, said: str) -> None:
    content = bytearray(library.read_bytes())
    content[at] = value
    library.write_bytes(content)
    with pytest.raises(LlamaCppError, match=said):
        check_library_file(library)


def test_one_of_the_other_architecture_names_both(library: Path) -> None:
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    other = "aarch64" if here == "x86_64" else "x86_64"
    with pytest.raises(LlamaCppError, match=f"is for {here}, and this machine is {other}"):
        check_library_file(library, other)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(LlamaCppError, match="can't be read: No such file"):
        check_library_file(tmp_path / "none.so")
    with pytest.raises(LlamaCppError, match="can't be read: Is a directory"):
        check_library_file(tmp_path)
