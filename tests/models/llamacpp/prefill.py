from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context

PROMPT = [1, 404, 413, 271, 358, 385, 368, 371]


# F32 weights, but an F16 cache: other batch shapes round differently. The logits deviate by about 1.
TOLERANCE = 5e-3


def prefill(context: Context, seq_id: int, tokens: list[int], pos0: int = 0) -> npt.NDArray[np.float32]:
    """Decode `tokens` and return a copy of the logits after each."""
    batch = TokenBatch(context.n_batch)
    batch.add_many(tokens, pos0, seq_id, output_last=True, output_all=True)
    context.decode(batch)
    return context.logits().copy()
