"""The fixed prompt of golden files, and a golden record of a generation from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PROMPT = [5, 300, 17, 42, 42, 399, 7, 120, 65, 251, 8, 77, 301, 256, 33, 90, 12, 404, 5, 300, 61, 9, 200, 150]
N_TOKENS = 8
N_LOGITS = 16
"""A record has this many logits of the prompt's last token."""


def golden_generation(tokens: list[int], first_logits: npt.NDArray[Any]) -> dict[str, Any]:
    """Return a record. `first_logits` [n_vocab] are those after the prompt."""
    logits = first_logits.astype(np.float64)
    shown = [round(float(value), 5) for value in logits[:N_LOGITS]]
    return {"tokens": tokens, "logits": shown, "deviation": round(float(logits.std()), 5)}
