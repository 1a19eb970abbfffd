"""The tokenizer of a merge is one model's; with `tokenizer_source` the others' tokens have its numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.json_file import optional_json_object, read_bounded
from quantize.merge.recipe import Recipe

_FILES: Final = (
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
)


def check_tokenizers(recipe: Recipe, directories: Mapping[str, Path]) -> None:
    """Raises CheckpointError when `tokenizer_source` is given and a model's tokens differ from that one's.

    Without it rows of embeddings are merged by their numbers, whatever tokens they stand for.
    """
    if recipe.tokenizer_source is None:
        return
    wanted = _vocabulary(directories[recipe.tokenizer_model])
    for model, directory in directories.items():
        if _vocabulary(directory) != wanted:
            raise CheckpointError(
                f"{model} numbers its tokens otherwise than {recipe.tokenizer_model}, and embeddings can't be"
                " put in another order here; merge models of one vocabulary, or leave out tokenizer_source to"
                " merge rows by number"
            )


def _vocabulary(directory: Path) -> Any:
    """Something that is equal for equal vocabularies: tokens with their numbers, else the files' sha256."""
    whole = optional_json_object(directory / "tokenizer.json")
    if whole is None:
        return {
            name: hashlib.sha256(read_bounded(directory / name)).hexdigest()
            for name in _FILES
            if (directory / name).is_file()
        }
    model = whole.get("model")
    added = whole.get("added_tokens")
    tokens = model.get("vocab") if isinstance(model, dict) else None
    more = [
        (token.get("content"), token.get("id"))
        for token in (added if isinstance(added, list) else [])
        if isinstance(token, dict)
    ]
    return tokens, more
