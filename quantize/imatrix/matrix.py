"""Importance matrices: the weight of each column's errors, from the activations that meet it.

For a weight W and the rows x it is multiplied with, column j weighs E[x_j^2]: an encoder that makes the sum
of weight · error^2 small makes the error of the product small. `file` reads and writes them, `compute` makes
them, `quantize.run.encode` uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from models.errors import QuantizationError
from quantize.gguf.header import Metadata, string, uint32

Floats = npt.NDArray[np.float32]

_MAY_MISMATCH = ("token_embd.weight", "per_layer_token_embd.weight")


@dataclass(frozen=True)
class Importance:
    """One weight's statistics: `sums` [n_matrices, n_per_row] f32 of squared activations, over `counts`
    [n_matrices or 1] i64 rows.
    """

    sums: Floats
    counts: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.sums.ndim == 2, f"sums {self.sums.shape}"
        assert len(self.counts) in (1, len(self.sums)), f"{len(self.counts)} counts, {len(self.sums)} sums"


@dataclass(frozen=True)
class ImportanceMatrix:
    """The importance of a whole model's weights, by tensor name. `chunk_size` is in tokens.

    `datasets`: the texts' names; `file`: the name of the file that the matrix was read from, which goes into
    the metadata of files that are made with it.
    """

    entries: Mapping[str, Importance]
    datasets: tuple[str, ...] = ()
    chunk_count: int = 0
    chunk_size: int = 512
    file: str | None = None
    _kept: dict[str, Floats] = field(default_factory=dict, repr=False, compare=False)

    def weights(self, tensor_name: str) -> Floats | None:
        """Return mean squares [n_per_row], of experts [n_expert, n_per_row]; None where nothing is known.

        An expert that no token came to weighs 1 everywhere. f32, C order. Thread-safe.
        """
        kept = self._kept.get(tensor_name)
        if kept is not None:
            return kept
        entry = self.entries.get(tensor_name)
        if entry is None:
            return None
        counts = np.broadcast_to(entry.counts, len(entry.sums)).astype(np.float32)[:, None]
        means = np.divide(entry.sums, counts, out=np.ones_like(entry.sums), where=counts > 0)
        weights = np.ascontiguousarray(means[0] if len(means) == 1 else means, np.float32)
        self._kept[tensor_name] = weights
        return weights

    def weights_for(self, tensor_name: str, ne: tuple[int, ...]) -> Floats | None:
        """Return `weights` [n_matrices, n_per_row] for a tensor of the shape `ne` (row length first).

        Raises QuantizationError: made for a tensor of another shape (of another model), or not finite.
        """
        weights = self.weights(tensor_name)
        if weights is None:
            return None
        n_matrices = int(np.prod(ne[2:], dtype=np.int64))
        if weights.size != n_matrices * ne[0]:
            if tensor_name in _MAY_MISMATCH:
                return None
            raise QuantizationError(
                f"the importance matrix has {weights.size} values for {tensor_name} and the tensor "
                f"{n_matrices * ne[0]}; it was made for another model"
            )
        if not np.isfinite(weights).all():
            raise QuantizationError(
                f"the importance matrix of {tensor_name} holds values that aren't finite; compute it again"
            )
        return weights.reshape(n_matrices, ne[0])

    def metadata(self) -> Metadata:
        """Return the keys that llama.cpp's quantizer writes into a file that is made with the matrix."""
        keys: Metadata = {"quantize.imatrix.file": string(_cut(self.file or "imatrix"))}
        if self.datasets:
            keys["quantize.imatrix.dataset"] = string(_cut(self.datasets[0]))
        keys["quantize.imatrix.entries_count"] = uint32(len(self.entries))
        if self.chunk_count:
            keys["quantize.imatrix.chunks_count"] = uint32(self.chunk_count)
        return keys

    def check_covers(self, tensors: Mapping[str, tuple[int, ...]]) -> None:
        """Raise QuantizationError if the matrix has none of the `tensors`, or one in another shape."""
        for name, ne in tensors.items():
            self.weights_for(name, ne)
        if not any(name in self.entries for name in tensors):
            raise QuantizationError("the importance matrix knows none of the tensors; it is another model's")


@cache
def _cut(text: str) -> str:
    """Return the first 127 bytes of `text`: llama.cpp's values have no room for more."""
    return text.encode()[:127].decode("utf-8", "ignore")
