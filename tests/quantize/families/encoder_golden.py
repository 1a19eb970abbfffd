"""A golden record of a classifier's scores for the beginnings of the fixed prompt."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from tests.quantize.families.generation_golden import N_TOKENS, PROMPT, golden_generation

BEGINNINGS = range(len(PROMPT) - 15, len(PROMPT) + 1)


def golden_scores(scores: npt.NDArray[Any]) -> dict[str, Any]:
    """Return a record of `scores` [n_beginnings, n_labels]; the largest labels take the place of tokens."""
    return golden_generation([int(row.argmax()) for row in scores[:N_TOKENS]], scores.reshape(-1))
