"""Golden records of a family's model: an answer to the fixed prompt, vectors or scores, by its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.quantize.families.family import Family


def by_llama_cpp(family: Family, path: Path) -> dict[str, Any]:
    """Compute the record from a GGUF file."""
    from tests.quantize.families import llama_cpp_decoding, llama_cpp_encoding

    if family.kind == "decoder":
        return llama_cpp_decoding.decode(path)
    if family.kind == "encoder-decoder":
        return llama_cpp_encoding.answer(path)
    return llama_cpp_encoding.scores(path) if classifies(family) else llama_cpp_encoding.vectors(path)


def by_transformers(family: Family, directory: Path) -> dict[str, Any]:
    """Compute the record from the checkpoint of an encoder, or of an encoder and a decoder."""
    from tests.quantize.families import transformers_encoding

    if family.kind == "encoder-decoder":
        return transformers_encoding.answer(directory)
    return (
        transformers_encoding.scores(directory)
        if classifies(family)
        else transformers_encoding.vectors(directory)
    )


def classifies(family: Family) -> bool:
    return family.architecture.endswith("ForSequenceClassification")
