"""`SegmentEmbeddings`: token embeddings that say which of two texts a token is of, for BERT's pairs.

llama.cpp takes every token for one of the first text. So its cross-encoders of BERT's kind, which were
trained with both, score differently there. Here tokens of such pairs reach llama.cpp as embeddings: a second
text's have the difference of the two types' vectors added, as llama.cpp adds the first's to all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.errors import ModelLoadError
from models.gguf.info import GGUFInfo
from models.gguf.reader import GGUFTensor
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from server.worker.pooled.vectors import Floats

_TOKENS, _TYPES = "token_embd.weight", "token_types.weight"


class SegmentEmbeddings:
    """The rows of a file's token embeddings, read from it when they are needed."""

    def __init__(self, tokens: npt.NDArray[np.uint8], ggml_type: int, difference: Floats) -> None:
        """`tokens`: [n_vocab, bytes of a row]. `difference`: [n_embd], of the second type and the first."""
        self._tokens = tokens
        self._type = ggml_type
        self._difference = difference

    @classmethod
    def of(cls, info: GGUFInfo) -> SegmentEmbeddings | None:
        """Return those of a file; None if its model knows one type of token. Raises ModelLoadError."""
        by_name = {tensor.name: tensor for tensor in info.tensors if tensor.name in (_TOKENS, _TYPES)}
        tokens, types = by_name.get(_TOKENS), by_name.get(_TYPES)
        if tokens is None or types is None or len(types.shape) < 2 or types.shape[1] < 2:
            return None
        n_embd = tokens.shape[0]
        if types.shape[0] != n_embd:
            raise ModelLoadError(f"{info.path.name} has token types of another size than its tokens")
        rows = dequantize_rows(GGML_TYPES[types.type], _mapped(info, types).copy(), n_embd)
        raw = _mapped(info, tokens).reshape(tokens.shape[1], -1)
        return cls(raw, GGML_TYPES[tokens.type], rows[1] - rows[0])

    @property
    def n_embd(self) -> int:
        return len(self._difference)

    def rows(self, tokens: npt.NDArray[np.int32], segments: npt.NDArray[np.int32]) -> Floats:
        """Return the embeddings [n, n_embd] of tokens, each of the first text (0) or the second (1)."""
        rows = dequantize_rows(self._type, np.ascontiguousarray(self._tokens[tokens]), self.n_embd)
        rows[segments == 1] += self._difference
        return rows


def _mapped(info: GGUFInfo, tensor: GGUFTensor) -> npt.NDArray[np.uint8]:
    path = info.paths[tensor.part]
    return np.memmap(path, np.uint8, "r", offset=tensor.offset, shape=(tensor.nbytes,))
