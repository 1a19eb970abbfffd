from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from models.errors import QuantizationError
from quantize.imatrix.file import read_imatrix, write_imatrix
from quantize.imatrix.matrix import Importance, ImportanceMatrix


def matrix() -> ImportanceMatrix:
    """A dense weight, and one of three experts of which the second was never used."""
    experts = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    experts[1] = 0
    return ImportanceMatrix(
        {
            "blk.0.attn_q.weight": Importance(
                np.asarray([[2.0, 4.0, 8.0]], np.float32), np.asarray([4], np.int64)
            ),
            "blk.0.ffn_up_exps.weight": Importance(experts, np.asarray([2, 0, 4], np.int64)),
        },
        datasets=("text.txt",),
        chunk_count=3,
        chunk_size=2,
    )


def test_weights_are_means_and_an_unused_expert_weighs_one() -> None:
    found = matrix()
    dense, experts = found.weights("blk.0.attn_q.weight"), found.weights("blk.0.ffn_up_exps.weight")
    assert dense is not None
    assert dense.tolist() == [0.5, 1.0, 2.0]
    assert experts is not None
    assert experts.tolist() == [[0.5, 1.0, 1.5, 2.0], [1.0] * 4, [2.25, 2.5, 2.75, 3.0]]
    assert found.weights("output.weight") is None


def test_weights_for_a_shape() -> None:
    found = matrix()
    weights = found.weights_for("blk.0.ffn_up_exps.weight", (4, 7, 3))
    assert weights is not None
    assert weights.shape == (3, 4)
    with pytest.raises(QuantizationError, match=r"3 values for blk\.0\.attn_q\.weight and the tensor 5"):
        found.weights_for("blk.0.attn_q.weight", (5, 2))


def test_the_metadata_is_that_of_llama_quantize() -> None:
    keys = {key: value.data for key, value in matrix().metadata().items()}
    assert keys == {
        "quantize.imatrix.file": "imatrix",
        "quantize.imatrix.dataset": "text.txt",
        "quantize.imatrix.entries_count": 2,
        "quantize.imatrix.chunks_count": 3,
    }


def test_the_gguf_form_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write_imatrix(matrix(), path)
    back = read_imatrix(path)
    assert (back.datasets, back.chunk_count, back.chunk_size) == (("text.txt",), 3, 2)
    for name, entry in matrix().entries.items():
        assert np.array_equal(back.entries[name].sums, entry.sums)
        assert np.array_equal(back.entries[name].counts, entry.counts)


def test_the_older_form_keeps_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    write_imatrix(matrix(), path)
    back = read_imatrix(path)
    assert (back.datasets, back.chunk_count) == (("text.txt",), 3)
    for name in matrix().entries:
        ours, theirs = matrix().weights(name), back.weights(name)
        assert ours is not None
        assert theirs is not None
        assert np.allclose(ours.reshape(-1), theirs.reshape(-1), rtol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"GGUF" + b"\xff" * 60,
        struct.pack("<i", 1),
        struct.pack("<i", -5),
        struct.pack("<ii", 1, 2**30),
        struct.pack("<ii", 1, 3) + b"abc" + struct.pack("<ii", 1, 2**31 - 1),
        b"\x7f" * 200,
    ],
)
def test_what_is_no_importance_matrix_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(QuantizationError, match=r"importance matrix|cut short"):
        read_imatrix(path)


def test_every_cut_is_refused(tmp_path: Path) -> None:
    whole, cut = tmp_path / "a.gguf", tmp_path / "b.gguf"
    write_imatrix(matrix(), whole)
    data = whole.read_bytes()
    for length in range(0, len(data) - 32, 41):
        cut.write_bytes(data[:length])
        with pytest.raises(QuantizationError):
            read_imatrix(cut)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match=r"can't be read.*corral imatrix"):
        read_imatrix(tmp_path / "none")
