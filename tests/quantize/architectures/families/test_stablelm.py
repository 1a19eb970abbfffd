"""StableLM 2 12B: a matrix from one vector per head, and no second norm."""

from __future__ import annotations

import numpy as np

from quantize.architectures.families.stablelm import VectorPerRow
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from tests.quantize.architectures.base.test_decoder import rules_of


class Heads(TensorSource):
    """Tensors named by digits, each a vector of its digit."""

    def __init__(self) -> None:
        self._entries = {str(i): TensorEntry(str(i), (3,), np.dtype(np.float32)) for i in range(4)}

    @property
    def entries(self) -> dict[str, TensorEntry]:
        return self._entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        return np.full(3, int(name), np.float32)[start:stop]

    def close(self) -> None:
        return None


def test_rows_are_the_heads_vectors() -> None:
    rows = VectorPerRow().read(Heads(), ["0", "1", "2", "3"], 1, 3)
    np.testing.assert_array_equal(rows, [[1, 1, 1], [2, 2, 2]])
    assert VectorPerRow().source_shapes((4, 3)) == ((3,),) * 4


def test_heads_of_their_own_and_side_by_side() -> None:
    rules = rules_of("StableLmForCausalLM", qk_layernorm=True, use_parallel_residual=True)
    assert rules["blk.0.attn_k_norm.weight"].sources == tuple(
        f"model.layers.0.self_attn.k_layernorm.norms.{head}.weight" for head in range(2)
    )
    assert "blk.0.ffn_norm.weight" not in rules
