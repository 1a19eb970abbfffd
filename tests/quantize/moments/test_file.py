from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.errors import QuantizationError
from models.gguf.reader import read_gguf_file
from quantize.moments.file import read_moments
from tests.quantize.moments.synthetic import EXPERTS, INFO, PLAIN, correlated, write_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.moments.gguf"


def test_what_is_written_is_read(path: Path) -> None:
    rows = write_file(path)
    with read_moments(path) as file:
        assert file.info == INFO
        assert file.info.tokens == 8192
        assert [file.n_matrices(name) for name in (*PLAIN.weights, EXPERTS.name, "x")] == [1, 1, 3, 0]
        for weight, matrix, name in (
            (PLAIN.weights[1], 0, PLAIN.name),
            (EXPERTS.name, 1, f"{EXPERTS.name}[1]"),
        ):
            moments = file.moments(weight, matrix)
            assert moments is not None
            assert moments.n_rows == 700
            exact = rows[name].astype(np.float64).T @ rows[name]
            scale = np.sqrt(np.outer(exact.diagonal(), exact.diagonal()))
            assert (np.abs(np.triu(moments.total - exact)) <= 2.5e-4 * scale + 1e-6 * scale).all()
            assert np.allclose(moments.total.diagonal(), exact.diagonal(), rtol=2e-6)
            held_out = correlated(9, 100, exact.shape[0])
            assert np.array_equal(moments.held_out, held_out[2::5])
            assert np.array_equal(moments.first, rows[name][: 1 - matrix])
        assert file.moments(EXPERTS.name, 2) is None  # no row came
        assert file.moments(PLAIN.name, 1) is None
        assert file.moments("blk.7.attn_q.weight") is None
        importance = file.importance()
    assert importance.chunk_count == 14
    assert set(importance.entries) == {*PLAIN.weights, EXPERTS.name}
    experts = importance.weights_for(EXPERTS.name, (64, 8, 3))
    assert experts is not None
    assert np.allclose(
        experts[1], np.square(rows[f"{EXPERTS.name}[1]"].astype(np.float64)).mean(0), rtol=2e-6
    )
    assert (experts[2] == 1).all()


def test_gguf_py_reads_it(path: Path) -> None:
    rows = write_file(path)
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert tensors[f"{EXPERTS.name}.counts"].tolist() == [[700, 0, 20], [700, 0, 20], [0, 0, 0]]
    assert tensors[f"{PLAIN.name}.correlation"].dtype == np.float16
    assert tensors[f"{EXPERTS.name}.held_out"].shape == (3, 64, 64)
    means = np.square(rows[PLAIN.name].astype(np.float64)).mean(0)
    assert np.allclose(tensors[f"{PLAIN.name}.variance"], means, rtol=2e-6)


def offset(path: Path, tensor: str) -> int:
    return next(one.offset for one in read_gguf_file(path).tensors if one.name == tensor)


def put(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def rename(path: Path, old: str, new: str) -> None:
    assert len(old) == len(new)
    raw = path.read_bytes()
    assert raw.count(old.encode())
    path.write_bytes(raw.replace(old.encode(), new.encode()))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "make it with"),
        (lambda p: p.write_bytes(b"GGUF"), "no second moments"),
        (lambda p: p.write_bytes(p.read_bytes()[:-4096]), "no second moments"),
        (lambda p: rename(p, "moments.version", "moments.versIon"), "has version None"),
        (
            lambda p: rename(p, "moments.text_sha256", "moments.text_sha255"),
            "no text corral.moments.text_sha256",
        ),
        (
            lambda p: rename(p, "moments.chunk_size", "moments.chunk_sIze"),
            "no number corral.moments.chunk_size",
        ),
        (lambda p: rename(p, "moments.inputs", "moments.Inputs"), "no list corral.moments.inputs"),
        (lambda p: rename(p, "attn_q.weight.counts", "attn_q.weight.countz"), "counts is missing"),
        (lambda p: rename(p, "blk.0.attn_k.weight", "blk.0.attn_q.weight"), "don't match"),
    ],
)
def test_a_broken_structure_is_refused(damage: Callable[[Path], object], words: str, path: Path) -> None:
    write_file(path)
    damage(path)
    with pytest.raises(QuantizationError, match=words):
        read_moments(path)


@pytest.mark.parametrize(
    ("tensor", "data", "words"),
    [
        ("variance", np.float32(-1).tobytes(), "negative or not finite"),
        ("variance", np.float32(np.nan).tobytes(), "negative or not finite"),
        ("variance", np.float32(3e38).tobytes(), "sums of .* aren't finite"),
        ("correlation", np.float16(1.01).tobytes(), "beyond 1"),
        ("correlation", np.float16(np.nan).tobytes(), "beyond 1"),
        ("first", np.float32(np.inf).tobytes(), "rows of .* aren't finite"),
        ("held_out", np.float32(np.nan).tobytes(), "rows of .* aren't finite"),
        ("counts", np.int32(-1).tobytes(), "-1 rows"),
        ("counts", np.asarray([5, 15, 0], np.int32).tobytes(), "claims 15 rows"),
        ("counts", np.asarray([5, 0, 257], np.int32).tobytes(), "claims 257 rows"),
    ],
)
def test_broken_numbers_are_refused(tensor: str, data: bytes, words: str, path: Path) -> None:
    write_file(path)
    put(path, offset(path, f"{PLAIN.name}.{tensor}"), data)
    with read_moments(path) as file, pytest.raises(QuantizationError, match=words):
        file.moments(PLAIN.name)


def test_a_file_that_shrinks_is_an_error(path: Path) -> None:
    write_file(path)
    with read_moments(path) as file:
        with path.open("r+b") as shrunk:
            shrunk.truncate(offset(path, f"{PLAIN.name}.correlation") + 100)
        with pytest.raises(QuantizationError, match="it ends inside"):
            file.moments(PLAIN.name)
