"""What classifiers make of the fixed prompt's beginnings, in the form of golden files."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from tests.quantize.families.decoded import N_TOKENS, PROMPT, decoded

BEGINNINGS = range(len(PROMPT) - 15, len(PROMPT) + 1)


def scored(scores: npt.NDArray[Any]) -> dict[str, Any]:
    """`scores` [n_beginnings, n_labels]; the largest of each stands for the tokens of others."""
    return decoded([int(row.argmax()) for row in scores[:N_TOKENS]], scores.reshape(-1))
