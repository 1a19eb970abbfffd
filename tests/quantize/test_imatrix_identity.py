"""Every type's file made with an importance matrix equals that of llama.cpp's own quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from models.errors import QuantizationError
from models.llamacpp.quantizer import ALL_FTYPES, GGML_TYPES, IMATRIX_FTYPES, quantize_file
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.imatrix import Importance, ImportanceMatrix
from quantize.pipeline import Work, make_plan, run
from quantize.plan import TypeChoice
from tests.pico import write_pico_checkpoint

pytestmark = pytest.mark.model

Tensors = dict[str, tuple[str, bytes]]


def random_matrix(path: Path) -> ImportanceMatrix:
    """For the layers' weights of a GGUF file, as `corral imatrix` would have them."""
    random = np.random.default_rng(7)
    entries = {}
    for tensor in gguf.GGUFReader(path).tensors:
        ne = [int(n) for n in tensor.shape]
        if len(ne) > 1 and tensor.name.startswith("blk."):
            shape = (ne[2] if len(ne) > 2 else 1, ne[0])
            sums = random.gamma(0.5, 8.0, shape).astype(np.float32)
            entries[tensor.name] = Importance(sums, np.full(shape[0], 64, np.int64))
    return ImportanceMatrix(entries, ("random",), 2, 32)


def native(matrix: ImportanceMatrix) -> Mapping[str, npt.NDArray[np.float32]]:
    found = {}
    for name in matrix.entries:
        weights = matrix.weights(name)
        assert weights is not None
        found[name] = np.ascontiguousarray(weights.reshape(-1))
    return found


def tensors(path: Path) -> Tensors:
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("layers", [2, 9])
def test_every_type(layers: int, tmp_path: Path) -> None:
    """Nine layers: an eighth of them is one, for which llama.cpp's choice then is another."""
    kv_heads = 2 if layers == 2 else 1
    directory = write_pico_checkpoint(tmp_path / "pico", n_layers=layers, kv_heads=kv_heads)
    types = [name for name in ALL_FTYPES if layers == 2 or name.startswith(("IQ", "Q4_0", "Q5_0"))]
    with Checkpoint.open(directory) as checkpoint:
        base = make_plan(checkpoint, ["F16"], name="x")
        run(base, checkpoint.tensors, [tmp_path / "base.gguf"], Work(threads=2))
        matrix = random_matrix(tmp_path / "base.gguf")
        plan = make_plan(checkpoint, types, name="x", choice=TypeChoice(matrix))
        paths = [tmp_path / f"ours.{type_}.gguf" for type_ in types]
        run(plan, checkpoint.tensors, paths, Work(threads=2))
    for type_, path in zip(types, paths, strict=True):
        theirs = tmp_path / "theirs.gguf"
        quantize_file(tmp_path / "base.gguf", theirs, ALL_FTYPES[type_], 2, imatrix=native(matrix))
        assert tensors(path) == tensors(theirs), type_
        theirs.unlink()


def test_types_by_name(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    overrides = {"blk.0.attn_v.weight": GGML_TYPES["Q8_0"], "blk.1.ffn_down.weight": GGML_TYPES["Q3_K"]}
    with Checkpoint.open(directory) as checkpoint:
        plan = make_plan(checkpoint, ["F16", "Q4_K_M"], name="x", choice=TypeChoice(overrides=overrides))
        run(plan, checkpoint.tensors, [tmp_path / "base.gguf", tmp_path / "ours.gguf"], Work(threads=2))
    quantize_file(
        tmp_path / "base.gguf", tmp_path / "theirs.gguf", ALL_FTYPES["Q4_K_M"], 2, overrides=overrides
    )
    ours = tensors(tmp_path / "ours.gguf")
    assert ours == tensors(tmp_path / "theirs.gguf")
    assert ours["blk.0.attn_v.weight"][0] == "Q8_0"


@pytest.mark.parametrize("type_", list(IMATRIX_FTYPES))
def test_a_type_that_needs_one_is_refused_without(type_: str, tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    with (
        Checkpoint.open(directory) as checkpoint,
        pytest.raises(QuantizationError, match=f"{type_} needs an importance matrix"),
    ):
        make_plan(checkpoint, [type_])


def test_another_models_matrix_is_refused(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    wrong = Importance(np.ones((1, 64), np.float32), np.ones(1, np.int64))
    with Checkpoint.open(directory) as checkpoint:
        for name, words in (("blk.0.attn_q.weight", "another model"), ("blk.77.x.weight", "none of")):
            with pytest.raises(QuantizationError, match=words):
                make_plan(checkpoint, ["Q4_K_M"], choice=TypeChoice(ImportanceMatrix({name: wrong})))
