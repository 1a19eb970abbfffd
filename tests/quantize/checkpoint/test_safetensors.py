"""The safetensors reader: right values, and a clear error for every way a file can lie."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.checkpoint import open_weights
from quantize.checkpoint.safetensors import SafetensorsSource
from tests.pico import write_json, write_safetensors

TENSORS: dict[str, npt.NDArray[Any]] = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(6, dtype=np.float16),
    "c": np.arange(10, dtype=np.float32).reshape(5, 2).astype(ml_dtypes.bfloat16),
    "empty": np.zeros((0, 4), np.float32),
}


def write_raw(path: Path, header: Any, data: bytes, size: int | None = None) -> Path:
    """Write a file with any header at all; `size` is the header's length by its own account."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    shape = list(shape) if isinstance(shape, tuple) else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_rows_are_what_was_written(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", TENSORS)
    source = open_weights(tmp_path)
    for name, expected in TENSORS.items():
        assert source.entries[name].shape == expected.shape
        whole = source.rows(name, 0, expected.shape[0])
        assert whole.dtype == expected.dtype
        np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(source.rows("a", 1, 2), TENSORS["a"][1:2])
    np.testing.assert_array_equal(source.rows("c", 3, 5), TENSORS["c"][3:5])
    assert source.entries["c"].n_bytes == 20
    source.close()


def test_rows_belong_to_the_caller(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x.safetensors", TENSORS)
    source = SafetensorsSource([tmp_path / "x.safetensors"])
    source.rows("a", 0, 3)[:] = 7
    np.testing.assert_array_equal(source.rows("a", 0, 3), TENSORS["a"])
    source.close()


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        (b"{", b"", "valid JSON"),
        (b"[]", b"", "isn't a JSON object"),
        (b"[" * 5000, b"", "valid JSON"),
        (b'{"x": "\xff"}', b"", "valid JSON"),
        ({"t": 5}, b"", "isn't described by an object"),
        ({"t": entry(dtype="F12")}, b"", "dtype 'F12'"),
        ({"t": entry(dtype=["F32"])}, b"", "dtype"),
        ({"t": entry(shape="2")}, b"", "shape"),
        ({"t": entry(shape=[-2])}, b"", "shape"),
        ({"t": entry(shape=[True])}, b"", "shape"),
        ({"t": entry(shape=[1] * 9)}, b"", "shape"),
        ({"t": entry(offsets=[0])}, bytes(8), "data_offsets"),
        ({"t": entry(offsets=[0, 8.0])}, bytes(8), "data_offsets"),
        ({"t": entry(offsets=[8, 0])}, bytes(8), "cut short"),
        ({"t": entry()}, bytes(7), "cut short"),
        ({"t": entry(offsets=[2**62, 2**62 + 8])}, bytes(8), "cut short"),
        ({"t": entry(shape=[3])}, bytes(8), "in a place of 8"),
        ({"t": entry(shape=[2**40, 2**40], offsets=[0, 8])}, bytes(8), "in a place of 8"),
        ({"t": entry(), "u": entry(offsets=[4, 12])}, bytes(12), "overlap"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any, data: bytes, reason: str) -> None:
    path = write_raw(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(CheckpointError, match=reason) as error:
        SafetensorsSource([path])
    assert "bad.safetensors" in error.value.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "only 0 bytes"),
        (b"1234567", "only 7 bytes"),
        (struct.pack("<Q", 100) + b"{}", "its header alone needs 108"),
        (struct.pack("<Q", 2**63) + b"{}", "the limit is"),
    ],
)
def test_a_wrong_header_length_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        SafetensorsSource([tmp_path / "bad.safetensors"])


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            SafetensorsSource([path])


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS)
    source = SafetensorsSource([path])
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(CheckpointError, match="became shorter"):
        source.rows("c", 0, 5)
    source.close()


def test_refused_files_are_closed(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    write_safetensors(good, TENSORS)
    bad = write_raw(tmp_path / "bad.safetensors", b"{", b"")
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(CheckpointError):
        SafetensorsSource([good, bad])
    assert len(list(Path("/dev/fd").iterdir())) == before


def sharded(directory: Path, change: Callable[[dict[str, Any]], None] = lambda index: None) -> Path:
    write_safetensors(directory / "one.safetensors", {"a": TENSORS["a"]})
    write_safetensors(directory / "two.safetensors", {"b": TENSORS["b"]})
    index: dict[str, Any] = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    change(index)
    write_json(directory / "model.safetensors.index.json", index)
    return directory


def test_shards_are_one_source(tmp_path: Path) -> None:
    source = open_weights(sharded(tmp_path))
    assert list(source.entries) == ["a", "b"]
    np.testing.assert_array_equal(source.rows("b", 0, 6), TENSORS["b"])
    source.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda index: index.pop("weight_map"), "no usable weight_map"),
        (lambda index: index.update(weight_map={"a": 1}), "no usable weight_map"),
        (lambda index: index["weight_map"].update(b="three.safetensors"), "names three.safetensors"),
        (lambda index: index["weight_map"].update(b="../two.safetensors"), "outside its folder"),
        (lambda index: index.update(weight_map={}), "no usable weight_map"),
    ],
)
def test_an_index_that_cant_be_followed_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        open_weights(sharded(tmp_path, change))


def test_an_index_lists_less_or_more_than_there_is(tmp_path: Path) -> None:
    directory = sharded(tmp_path, lambda index: index["weight_map"].update(gone="one.safetensors"))
    write_safetensors(directory / "one.safetensors", {"a": TENSORS["a"], "unlisted": TENSORS["b"]})
    source = open_weights(directory)
    assert list(source.entries) == ["a", "unlisted", "b"]
    np.testing.assert_array_equal(source.rows("unlisted", 0, 6), TENSORS["b"])
    source.close()


@pytest.mark.parametrize("right", ["one.safetensors", "two.safetensors"])
def test_an_index_decides_between_two_shards(right: str, tmp_path: Path) -> None:
    directory = sharded(tmp_path, lambda index: index["weight_map"].update(a=right))
    other = {"a": TENSORS["a"] + 1, "b": TENSORS["b"]}
    write_safetensors(directory / "two.safetensors", other)
    source = open_weights(directory)
    expected = TENSORS["a"] if right == "one.safetensors" else other["a"]
    np.testing.assert_array_equal(source.rows("a", 0, 3), expected)
    assert set(source.entries) == {"a", "b"}
    source.close()


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    directory = sharded(tmp_path, lambda index: index["weight_map"].pop("a"))
    write_safetensors(directory / "three.safetensors", {"b": TENSORS["b"]})
    write_json(
        directory / "model.safetensors.index.json",
        {"weight_map": {"x": "two.safetensors", "y": "three.safetensors"}},
    )
    with pytest.raises(CheckpointError, match=r"b is both in three.safetensors and in two.safetensors"):
        open_weights(directory)


def test_a_tensor_in_another_shard_than_the_index_says(tmp_path: Path) -> None:
    def swap(index: dict[str, Any]) -> None:
        index["weight_map"] = {"a": "two.safetensors", "b": "one.safetensors"}

    source = open_weights(sharded(tmp_path, swap))
    np.testing.assert_array_equal(source.rows("a", 0, 3), TENSORS["a"])
    source.close()


def test_a_stale_index_beside_a_whole_file(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", TENSORS)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    write_json(tmp_path / "model.safetensors.index.json", index)
    for _ in range(2):
        source = open_weights(tmp_path)
        assert set(source.entries) == set(TENSORS)
        source.close()
        write_safetensors(tmp_path / "model-00001-of-00002.safetensors", {"a": TENSORS["a"]})


def test_columns_are_read_alone(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x.safetensors", TENSORS)
    source = SafetensorsSource([tmp_path / "x.safetensors"])
    for start in range(5):
        for stop in range(start, 5):
            np.testing.assert_array_equal(source.columns("a", start, stop), TENSORS["a"][:, start:stop])
    source.close()


def test_weights_of_another_name(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "gptq_model-4bit-128g.safetensors", TENSORS)
    write_safetensors(tmp_path / "adapter_model.safetensors", TENSORS)
    source = open_weights(tmp_path)
    assert set(source.entries) == set(TENSORS)
    source.close()


def test_a_pointer_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs" + bytes(100))
    with pytest.raises(CheckpointError, match="Git LFS pointer"):
        open_weights(tmp_path)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        open_weights(tmp_path)


def test_safetensors_come_before_torch_files(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even read")
    write_safetensors(tmp_path / "model.safetensors", TENSORS)
    open_weights(tmp_path).close()
