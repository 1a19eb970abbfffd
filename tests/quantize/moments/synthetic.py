"""Activations, inputs and files of moments without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.llamacpp.eval_callback import Activations, Weight
from quantize.moments.draft import MomentDraft, new_sum
from quantize.moments.inputs import Input
from quantize.moments.layout import Layout, MomentInfo
from quantize.moments.sums import InputSum

Floats = npt.NDArray[np.float32]

PLAIN = Input("blk.0.attn_q.weight", ("blk.0.attn_q.weight", "blk.0.attn_k.weight"), 96, 1, False, (0,))
EXPERTS = Input("blk.0.ffn_down_exps.weight", ("blk.0.ffn_down_exps.weight",), 64, 3, True, (3,))
INFO = MomentInfo("a text", "00" * 32, 16, 2, 512, "model.gguf", "11" * 32)


def activations(
    name: str,
    rows: Floats,
    *,
    matrix: npt.NDArray[np.int32] | None = None,
    n_matrices: int = 1,
    source: int = 0,
) -> Activations:
    """The input of one product."""
    of = np.zeros(len(rows), np.int32) if matrix is None else matrix
    weight = Weight(name, 1, (rows.shape[1], 8, n_matrices, 1), 0)
    return Activations(weight, rows, of, n_matrices, n_matrices > 1, (source, rows.shape[1]))


def correlated(seed: int, n_rows: int, width: int) -> Floats:
    """Rows whose columns go together, of very unlike sizes; one column is always 0."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((n_rows, width)) + 2.0 * random.standard_normal((n_rows, 1))
    rows *= np.exp(random.uniform(-6.0, 6.0, width))
    rows[:, 3] = 0.0
    return rows.astype(np.float32)


def add(one: InputSum, rows: Floats) -> None:
    """Add rows to a sum on this thread."""
    for task in one.adding(rows):
        task()


def write_file(path: Path) -> dict[str, Floats]:
    """Write a file with both inputs; return the rows that are summed. To the last expert none came."""
    layout = Layout(INFO, [PLAIN, EXPERTS])
    rows = {}
    with MomentDraft(path, layout) as draft:
        for one in layout.inputs:
            sums = {}
            for unit in one.units():
                sums[unit] = new_sum(one, layout)
                if unit.matrix == 2:
                    continue
                rows[str(unit)] = correlated(unit.matrix, 700, one.width)
                add(sums[unit], rows[str(unit)])
                sums[unit].keep_held_out(correlated(9, 100, one.width), 20)
                if not one.routed:
                    sums[unit].keep_first(rows[str(unit)][0])
            draft.write(sums)
        draft.finish()
    return rows
