"""Pico models for vectors and scores, their texts, and the record of what transformers makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.families.encoders import sentence_transformers

RECORD = Path(__file__).parent / "data" / "transformers.json"

TEXTS = (
    "The river runs past the old stone bridge.",
    "moon",
    "the sun and the moon and the wind " * 6,
    "a, b? c! 12 - it's",
    "",
)
QUERY = "Which river runs past a stone?"

EMBEDDERS: dict[str, Callable[[Path], None] | None] = {
    "bert": None,
    "roberta": None,
    "xlm-roberta": None,
    "qwen3": sentence_transformers("lasttoken"),
}
"""Families with their own pooling, or with one that is put beside them."""
RERANKERS = ("xlm-roberta-reranker", "bert-classifier")


def checkpoint_of(name: str, folder: Path) -> Path:
    """Write the checkpoint of a family as published models for vectors are."""
    family = next(family for family in ALL_FAMILIES if family.name == name)
    edit = EMBEDDERS.get(name)
    if edit is not None:
        family = replace(family, edit=edit)
    golden = read_golden(family)
    return write_checkpoint(family, folder, golden["config"], golden["tensors"])


def recorded() -> dict[str, Any]:
    """Return the record: a list of rows for each model."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record
