"""A made-up importance matrix of a GGUF file, and llama.cpp's own quantizer given the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import ALL_FTYPES
from models.llamacpp.quantization.quantizer import quantize_file
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.imatrix.matrix import Importance, ImportanceMatrix
from quantize.plan.make_plan import make_plan
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from tests.gguf_reader import QuickReader

Tensors = dict[str, tuple[str, bytes]]


def random_matrix(path: Path) -> ImportanceMatrix:
    """For the layers' weights of a GGUF file, as `corral imatrix` would have them.

    No token came to the second expert of each weight, and few came to the third.
    """
    random = np.random.default_rng(7)
    entries = {}
    for tensor in QuickReader(path).tensors:
        ne = [int(n) for n in tensor.shape]
        if len(ne) > 1 and "blk." in tensor.name:
            shape = (ne[2] if len(ne) > 2 else 1, ne[0])
            sums = random.gamma(0.5, 8.0, shape).astype(np.float32)
            counts = np.full(shape[0], 64, np.int64)
            counts[1:3] = (0, 3)[: len(counts[1:3])]
            sums[counts == 0] = 0
            entries[tensor.name] = Importance(sums, counts)
    return ImportanceMatrix(entries, ("random",), 2, 32)


def tensors(path: Path) -> Tensors:
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in QuickReader(path).tensors}


def assert_identical(
    directory: Path, parent: Path, types: Sequence[str], overrides: Mapping[str, int] | None = None
) -> dict[str, Tensors]:
    """Ours of the checkpoint, and llama.cpp's of our 16-bit file, both with a matrix. Returns ours."""
    found: dict[str, Tensors] = {}
    (parent / "base.gguf").unlink(missing_ok=True)
    with Checkpoint.open(directory) as checkpoint:
        base = make_plan(checkpoint, ["F16"], name="x")
        run(base, checkpoint.tensors, [parent / "base.gguf"], RunOptions(threads=2))
        matrix = random_matrix(parent / "base.gguf")
        choice = TypeChoice(matrix, overrides=dict(overrides or {}))
        plan = make_plan(checkpoint, types, name="x", choice=choice)
        paths = [parent / f"ours.{type_}.gguf" for type_ in types]
        run(plan, checkpoint.tensors, paths, RunOptions(threads=2))
    for type_, path in zip(types, paths, strict=True):
        theirs = parent / "theirs.gguf"
        quantize_file(
            parent / "base.gguf", theirs, ALL_FTYPES[type_], 2, imatrix=_native(matrix), overrides=overrides
        )
        found[type_] = tensors(path)
        assert found[type_] == tensors(theirs), type_
        theirs.unlink()
        path.unlink()
    return found


def _native(matrix: ImportanceMatrix) -> Mapping[str, npt.NDArray[np.float32]]:
    """Return what llama-quantize makes of the file (`load_imatrix` in quantize.cpp)."""
    found = {}
    for name, entry in matrix.entries.items():
        rows = []
        for sums, count in zip(entry.sums, np.broadcast_to(entry.counts, len(entry.sums)), strict=True):
            rows.append(sums / np.float32(count) if count > 0 else np.ones_like(sums))
        found[name] = np.concatenate(rows)
    return found
