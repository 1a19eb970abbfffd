"""torch's files without torch: right values through any strides, and a clear error for every way to lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.checkpoint import open_weights
from quantize.checkpoint.torch.source import TorchSource
from tests.pico import write_json
from tests.quantize.checkpoint.torch_files import (
    EMPTY_DICT,
    MARK,
    SET_ITEMS,
    View,
    contiguous,
    name,
    pickled,
    state_dict,
    storage,
    tensor,
    text,
    tuple_of,
    views_pickle,
    write_legacy,
    write_tensors,
    write_views,
    write_zip,
)

TENSORS: dict[str, npt.NDArray[Any]] = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(6, dtype=np.float16),
    "c": np.arange(10, dtype=np.float32).reshape(5, 2).astype(ml_dtypes.bfloat16),
    "d": np.arange(24, dtype=np.int64).reshape(2, 3, 4),
    "scalar": np.array(2.5, np.float64),
    "empty": np.zeros((0, 4), np.float32),
}
STORAGE = np.arange(40, dtype=np.float32)
VIEWS = {
    "whole": contiguous("0", (40,)),
    "matrix": View("0", (5, 8), (8, 1)),
    "transposed": View("0", (8, 5), (1, 8)),
    "offset": View("0", (4, 3), (3, 1), 7),
    "strided": View("0", (3, 4), (12, 2), 3),
    "cube": View("0", (2, 5, 4), (20, 1, 5)),
    "repeated": View("0", (3, 4), (0, 1), 5),
    "column": View("0", (5,), (8,), 2),
    "same": View("0", (5, 8), (8, 1)),
}


def expected(view: View) -> npt.NDArray[np.float32]:
    """Return the view by its definition, element by element."""
    out = np.empty(view.shape, np.float32)
    for place in np.ndindex(*view.shape):
        at = view.offset + sum(i * stride for i, stride in zip(place, view.strides, strict=True))
        out[place] = STORAGE[at]
    return out


@pytest.mark.parametrize("legacy", [False, True])
def test_rows_are_what_was_written(legacy: bool, tmp_path: Path) -> None:
    source = TorchSource([write_tensors(tmp_path / "x.bin", TENSORS, legacy=legacy)])
    assert list(source.entries) == list(TENSORS)
    for key, array in TENSORS.items():
        assert source.entries[key].shape == array.shape
        n_rows = array.shape[0] if array.shape else 1
        whole = source.rows(key, 0, n_rows)
        assert whole.dtype == array.dtype
        np.testing.assert_array_equal(whole, array if array.shape else array.reshape(1))
    np.testing.assert_array_equal(source.rows("d", 1, 2), TENSORS["d"][1:2])
    source.close()


@pytest.mark.parametrize("key", VIEWS)
def test_views_of_one_storage(key: str, tmp_path: Path) -> None:
    source = TorchSource([write_views(tmp_path / "x.bin", {"0": STORAGE}, VIEWS)])
    whole = expected(VIEWS[key])
    for start in range(len(whole)):
        for stop in range(start, len(whole) + 1):
            np.testing.assert_array_equal(source.rows(key, start, stop), whole[start:stop])
    if whole.ndim == 2:
        np.testing.assert_array_equal(source.columns(key, 1, 3), whole[:, 1:3])
    source.close()


def test_a_large_transposed_matrix_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.arange(300 * 200, dtype=np.float32)
    views = {"t": View("0", (300, 200), (1, 300))}
    source = TorchSource([write_views(tmp_path / "x.bin", {"0": stored}, views)])
    read = 0
    file = source._files[0]
    real = file.read_into

    def counted(offset: int, buffer: memoryview) -> None:
        nonlocal read
        read += len(buffer)
        real(offset, buffer)

    monkeypatch.setattr(file, "read_into", counted)
    np.testing.assert_array_equal(source.rows("t", 10, 20), stored.reshape(200, 300).T[10:20])
    assert read <= 4 * 10 * 200 * 4
    source.close()


def test_a_parameter_is_its_tensor(tmp_path: Path) -> None:
    inner = tensor(storage("0", "FloatStorage", 40), VIEWS["matrix"])
    parameter = name("torch._utils", "_rebuild_parameter") + tuple_of(inner, b"\x88", b"N") + b"R"
    path = write_zip(tmp_path / "x.bin", state_dict({"w": parameter}), {"0": STORAGE.tobytes()})
    source = TorchSource([path])
    np.testing.assert_array_equal(source.rows("w", 0, 5), expected(VIEWS["matrix"]))
    source.close()


def test_a_state_dict_inside_a_training_checkpoint(tmp_path: Path) -> None:
    inner = state_dict({"w": tensor(storage("0", "FloatStorage", 40), VIEWS["matrix"])}, ordered=False)
    body = EMPTY_DICT + MARK + text("epoch") + b"K\x03" + text("state_dict") + inner[2:-1] + SET_ITEMS
    source = TorchSource([write_zip(tmp_path / "x.pth", pickled(body), {"0": STORAGE.tobytes()})])
    assert list(source.entries) == ["w"]
    source.close()


def rejected(path: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        TorchSource([path])
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (View("0", (5, 9), (9, 1)), "ends at element 45 of a storage of 40"),
        (View("0", (40,), (1,), 1), "ends at element 41"),
        (View("0", (2, 2), (39, 1)), "ends at element 41"),
        (View("0", (2,), (2**62,)), "ends at element"),
        (View("0", (-1,), (1,)), "whole numbers"),
        (View("0", (2,), (-1,), 5), "whole numbers"),
        (View("0", (2,), (1,), -1), "whole numbers"),
        (View("0", (2, 2), (1,)), "whole numbers"),
        (View("0", (2**40, 2), (0, 1)), "elements in a storage of 40"),
        (View("0", (2**62, 2**62, 2**62), (0, 0, 0)), "elements in a storage of 40"),
        (View("0", (1,) * 9, (1,) * 9), "whole numbers"),
    ],
)
def test_views_outside_their_storage(view: View, reason: str, tmp_path: Path) -> None:
    rejected(write_views(tmp_path / "x.bin", {"0": STORAGE}, {"w": view}), reason)


def test_storages_that_dont_hold_what_was_saved(tmp_path: Path) -> None:
    pickle = views_pickle({"0": STORAGE}, VIEWS)
    rejected(write_zip(tmp_path / "a.bin", pickle, {}), "is missing")
    rejected(write_zip(tmp_path / "b.bin", pickle, {"0": bytes(159)}), "159 bytes")
    rejected(write_zip(tmp_path / "c.bin", pickle, {"0": STORAGE.tobytes()}, order=b"big"), "big-endian")
    rejected(write_legacy(tmp_path / "d.bin", pickle, {"1": STORAGE}), "belong to no tensor")
    rejected(write_legacy(tmp_path / "e.bin", pickle, {"0": STORAGE[:39]}), "isn't all there")
    rejected(write_legacy(tmp_path / "f.bin", pickle, {}), "is missing")
    rejected(write_legacy(tmp_path / "g.bin", pickle, {"0": STORAGE}, little=False), "big-endian")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_cut_anywhere(legacy: bool, tmp_path: Path) -> None:
    whole = write_tensors(tmp_path / "whole.bin", TENSORS, legacy=legacy).read_bytes()
    for size in [*range(64), *range(64, len(whole), 37), len(whole) - 1]:
        cut = tmp_path / "cut.bin"
        cut.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.bin"):
            TorchSource([cut])


@pytest.mark.parametrize("legacy", [False, True])
def test_a_damaged_file_never_ends_in_another_error(legacy: bool, tmp_path: Path) -> None:
    whole = bytearray(write_tensors(tmp_path / "whole.bin", TENSORS, legacy=legacy).read_bytes())
    random = np.random.default_rng(5)
    damaged = tmp_path / "damaged.bin"
    for _ in range(600):
        copy = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            copy[at] = random.integers(0, 256)
        damaged.write_bytes(copy)
        try:
            source = TorchSource([damaged])
        except CheckpointError:
            continue
        for key, entry in source.entries.items():
            source.rows(key, 0, entry.shape[0] if entry.shape else 1)
        source.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"K\x01", "holds a int and no state dict"),
        (EMPTY_DICT, "holds no tensors"),
        (
            EMPTY_DICT + MARK + text("x") + b"]" + MARK + b"K\x01e" + SET_ITEMS,
            "is a list instead of a tensor",
        ),
    ],
)
def test_pickles_without_a_state_dict(body: bytes, reason: str, tmp_path: Path) -> None:
    rejected(write_zip(tmp_path / "x.bin", pickled(body), {}), reason)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    pointer = tmp_path / "pointer.bin"
    pointer.write_bytes(b"version https://git-lfs" + bytes(100))
    rejected(pointer, "Git LFS pointer")
    html = tmp_path / "page.bin"
    html.write_bytes(b"<!DOCTYPE html>" + bytes(100))
    rejected(html, "no torch file")


# --- folders


def sharded(directory: Path, change: Callable[[dict[str, str]], object] = lambda weight_map: None) -> Path:
    names = list(TENSORS)
    weight_map = {}
    for i, half in enumerate((names[:3], names[3:]), start=1):
        shard = f"pytorch_model-{i:05d}-of-00002.bin"
        write_tensors(directory / shard, {key: TENSORS[key] for key in half})
        weight_map.update(dict.fromkeys(half, shard))
    change(weight_map)
    write_json(directory / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    return directory


def test_shards_are_joined(tmp_path: Path) -> None:
    source = open_weights(sharded(tmp_path))
    assert set(source.entries) == set(TENSORS)
    np.testing.assert_array_equal(source.rows("d", 0, 2), TENSORS["d"])
    source.close()


def test_an_index_lists_less_or_more_than_there_is(tmp_path: Path) -> None:
    def change(weight_map: dict[str, str]) -> None:
        del weight_map["a"]
        weight_map["gone"] = "pytorch_model-00001-of-00002.bin"

    source = open_weights(sharded(tmp_path, change))
    assert set(source.entries) == set(TENSORS)
    source.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(z="pytorch_model-00003-of-00003.bin"), "which is missing"),
        (lambda m: m.update(z="../x.bin"), "outside its folder"),
        (lambda m: m.clear(), "no usable weight_map"),
    ],
)
def test_an_index_that_cant_be_followed(
    change: Callable[[dict[str, str]], object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        open_weights(sharded(tmp_path, change))


def test_shards_without_an_index_and_doubles(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "pytorch_model.bin.index.json").unlink()
    source = open_weights(tmp_path)
    assert set(source.entries) == set(TENSORS)
    source.close()
    for i, shard in enumerate(sorted(tmp_path.glob("*.bin"))):
        shard.rename(tmp_path / f"pytorch_model-{i}.bin")
    write_tensors(tmp_path / "pytorch_model-3.bin", {"a": TENSORS["a"]})
    with pytest.raises(CheckpointError, match="a is both in"):
        open_weights(tmp_path)


def test_metas_own_files_are_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "consolidated.00.pth", {"tok_embeddings.weight": TENSORS["a"]})
    with pytest.raises(CheckpointError, match="Meta's own tensor names"):
        open_weights(tmp_path)
    write_tensors(tmp_path / "consolidated.01.pth", {"tok_embeddings.weight": TENSORS["a"]})
    with pytest.raises(CheckpointError, match="each a slice"):
        open_weights(tmp_path)


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no pytorch_model\.bin"):
        open_weights(tmp_path)
    (tmp_path / "x.json").write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match=r"no pytorch_model\.bin"):
        open_weights(tmp_path)
