from __future__ import annotations

import math
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.random_model import SHAPES, Shape, tensors_of, write_random_llama
from models.doctor.tiny_model import TinyModel, write_tiny_gguf


@pytest.mark.parametrize(("name", "parameters"), [("134M", 134.1e6), ("1.1B", 1.1e9)])
def test_shapes_have_the_size_in_their_name(name: str, parameters: float) -> None:
    total = sum(math.prod(dims) for _, dims in tensors_of(SHAPES[name], 32000))
    assert total == pytest.approx(parameters, rel=0.01)


SMALL = Shape(n_embd=64, n_layer=2, n_head=4, n_head_kv=2, n_ff=96)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SentencePiece vocabulary: gguf-py takes seconds to read and write a real one."""
    return write_tiny_gguf(tmp_path_factory.mktemp("vocabulary") / "tiny.gguf", TinyModel())


@pytest.fixture(scope="module")
def n_tokens(vocabulary: Path) -> int:
    return len(gguf.GGUFReader(vocabulary).fields["tokenizer.ggml.tokens"].data)


def test_after_each_token_comes_the_next(tmp_path: Path, vocabulary: Path, n_tokens: int) -> None:
    out = tmp_path / "successor.gguf"
    write_random_llama(vocabulary, out, SMALL, successor=True)
    tensors = {one.name: one.data for one in gguf.GGUFReader(out).tensors}
    tokens = np.array([0, 5, 100, n_tokens - 1])
    logits = tensors["token_embd.weight"][tokens].astype(np.float32) @ tensors["output.weight"].T
    assert logits.argmax(axis=1).tolist() == [1, 6, 101, 0]


def test_a_model_is_written_tensor_by_tensor(tmp_path: Path, vocabulary: Path, n_tokens: int) -> None:
    out = tmp_path / "random.gguf"
    write_random_llama(vocabulary, out, SMALL)
    reader = gguf.GGUFReader(out)
    expected = dict(tensors_of(SMALL, n_tokens))
    assert {one.name: tuple(reversed(one.shape.tolist())) for one in reader.tensors} == expected
    matrix = next(one for one in reader.tensors if one.name == "blk.1.ffn_up.weight")
    assert float(np.std(matrix.data.astype(np.float32))) == pytest.approx(0.02, rel=0.05)
    norm = next(one for one in reader.tensors if one.name == "output_norm.weight")
    assert (norm.data == 1).all()
