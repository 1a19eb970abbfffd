from __future__ import annotations

from pathlib import Path

import numpy as np

from quantize.imatrix.file import read_imatrix, write_imatrix
from quantize.imatrix.matrix import Importance, ImportanceMatrix
from quantize.imatrix.rare_experts import ENOUGH_FOR_VARIANCES, RareExpert, rare_experts, warning_of


def matrix(**counts: list[int]) -> ImportanceMatrix:
    """`blk_3_ffn_up_exps=[…]`: the tokens of each expert."""
    return ImportanceMatrix(
        {
            name.replace("blk_", "blk.").replace("_ffn", ".ffn") + ".weight": Importance(
                np.ones((len(own), 4), np.float32), np.asarray(own, np.int64)
            )
            for name, own in counts.items()
        },
        chunk_size=16,
    )


def test_experts_with_few_tokens_are_found_layer_by_layer() -> None:
    found = matrix(
        blk_10_ffn_up_exps=[ENOUGH_FOR_VARIANCES, ENOUGH_FOR_VARIANCES - 1],
        blk_2_ffn_up_exps=[0, 1000, 5],
        blk_2_ffn_down_exps=[0, 1000, 4],
        blk_2_ffn_up=[1],
        blk_2_ffn_up_shexp=[1],
    )
    expected = [RareExpert(2, 0, 0), RareExpert(2, 2, 4), RareExpert(10, 1, ENOUGH_FOR_VARIANCES - 1)]
    assert rare_experts(found) == expected
    assert rare_experts(matrix(blk_0_ffn_up_exps=[ENOUGH_FOR_VARIANCES] * 3)) == []


def test_the_warning_names_those_with_the_fewest_first() -> None:
    text = warning_of([RareExpert(2, 7, 9), RareExpert(3, 1, 0), RareExpert(4, 0, 1)])
    assert f"fewer than {ENOUGH_FOR_VARIANCES} tokens" in text
    assert (
        "3 of the experts: blk.3 expert 1 (none), blk.4 expert 0 (1 token), blk.2 expert 7 (9 tokens)."
        in text
    )
    many = warning_of([RareExpert(0, expert, 0) for expert in range(60)])
    assert "blk.0 expert 7 (none) and 52 more" in many


def test_the_older_form_counts_no_experts(tmp_path: Path) -> None:
    found = matrix(blk_0_ffn_up_exps=[0, 100, 3])
    for name, n_rare in (("x.gguf", 2), ("x.dat", 0)):
        write_imatrix(found, tmp_path / name)
        assert len(rare_experts(read_imatrix(tmp_path / name))) == n_rare
