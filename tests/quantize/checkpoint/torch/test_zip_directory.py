"""Zip files that lie: nothing is decompressed, believed or read beyond the file."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import CheckpointError
from quantize.checkpoint.file_bytes import FileBytes
from quantize.checkpoint.torch import zip_directory
from quantize.checkpoint.torch.source import TorchSource
from quantize.checkpoint.torch.zip_directory import read_zip_directory
from tests.quantize.checkpoint.torch_files import views_pickle, write_zip

MEMBERS = {"a/data.pkl": b"hello", "a/data/0": bytes(range(200)), "a/empty": b""}


def write(path: Path, **how: int) -> Path:
    with zipfile.ZipFile(path, "w", **how) as file:  # type: ignore[call-overload]
        for name, data in MEMBERS.items():
            file.writestr(name, data)
    return path


def read(path: Path) -> dict[str, bytes]:
    file = FileBytes(path)
    try:
        return {name: file.read(m.offset, m.size) for name, m in read_zip_directory(file).items()}
    finally:
        file.close()


def test_members_are_where_it_says(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.zip")) == MEMBERS


def test_sixty_four_bit_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in MEMBERS.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(data)
    assert b"PK\x06\x06" in path.read_bytes()
    assert read(path) == MEMBERS


def test_a_comment_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"made by hand" * 100
    assert read(path) == MEMBERS


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_is_not_opened(method: int, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.bin", b"\x80\x02}.", {"0": bytes(50_000_000)}, compression=method)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="is compressed"):
        TorchSource([path])


def central(data: bytes, name: bytes = b"a/data/0") -> int:
    """Return the place of the directory's entry for `name`."""
    return data.rindex(name) - 46


def end(data: bytes) -> int:
    return data.rindex(b"PK\x05\x06")


def patch(data: bytes, at: int, form: str, value: int) -> bytes:
    raw = struct.pack(form, value)
    return data[:at] + raw + data[at + len(raw) :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: patch(d, central(d) + 8, "<H", 1), "encrypted"),
        (lambda d: patch(d, central(d) + 24, "<I", 199), "compressed"),
        (lambda d: patch(patch(d, central(d) + 20, "<I", 900), central(d) + 24, "<I", 900), "doesn't fit"),
        (lambda d: patch(d, central(d) + 42, "<I", 5), "isn't where the directory says"),
        (lambda d: patch(d, central(d) + 42, "<I", 2**31), "isn't where the directory says"),
        (lambda d: patch(d, central(d) + 42, "<I", 0), "overlaps"),
        (lambda d: patch(d, central(d), "<I", 7), "directory is damaged"),
        (lambda d: patch(d, central(d) + 28, "<H", 60000), "directory is damaged"),
        (lambda d: patch(d, end(d) + 4, "<H", 1), "several volumes"),
        (lambda d: patch(d, end(d) + 8, "<I", 0x00090009), "doesn't fit the file"),
        (lambda d: patch(d, end(d) + 16, "<I", 2**31), "doesn't fit the file"),
        (lambda d: patch(d, end(d) + 12, "<I", 2**31), "doesn't fit the file|at most"),
        (lambda d: d[: end(d)], "no directory at its end"),
        (lambda d: d[: end(d) + 10], "no directory at its end"),
        (lambda d: d.replace(b"a/empty", b"a/data\xff"), "isn't UTF-8"),
    ],
)
def test_directories_that_lie(change: Callable[[bytes], bytes], reason: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=reason):
        read(path)


def test_a_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/one", b"1")
        file.writestr("a/two", b"2")
    path.write_bytes(path.read_bytes().replace(b"a/two", b"a/one"))
    with pytest.raises(CheckpointError, match="twice"):
        read(path)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.zip")
    monkeypatch.setattr(zip_directory, "MAX_MEMBERS", 2)
    with pytest.raises(CheckpointError, match="has 3 members"):
        read(path)


@pytest.mark.parametrize("prefixes", [("a/", "b/"), ()])
def test_a_zip_that_is_no_torch_file(prefixes: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with zipfile.ZipFile(path, "w") as file:
        for prefix in prefixes or ("x/other",):
            file.writestr(f"{prefix}data.pkl" if prefixes else prefix, views_pickle({}, {}))
    with pytest.raises(CheckpointError, match=r"it has [02] data\.pkl, not one"):
        TorchSource([path])
