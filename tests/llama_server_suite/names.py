"""The files that stand in for the models of llama.cpp's server tests, by the names that the tests use.

A module of its own, as the shim reads it at each start, where each import is time.
"""

from __future__ import annotations

from collections.abc import Mapping

TINY_LLAMA = "stories260K.gguf"
TINY_INFILL = "stories260K-infill.gguf"
MOE = "stories15M_MOE.gguf"
DRAFT = "stories15M-q4_0.gguf"
ADAPTER = "moe_shakespeare15M.gguf"
BERT = "bert-bge-small.gguf"
RERANKER = "jina-reranker-tiny.gguf"

BY_REPOSITORY: Mapping[str, str] = {
    "ggml-org/test-model-stories260K": TINY_LLAMA,
    "ggml-org/test-model-stories260K-infill": TINY_INFILL,
    "ggml-org/stories15M_MOE": MOE,
    "ggml-org/tinygemma3-GGUF:Q8_0": TINY_LLAMA,
}
"""The stand-in for each repository that the suite names; those of many files are in `BY_FILE`."""
BY_FILE: Mapping[str, str] = {
    "bert-bge-small/ggml-model-f16.gguf": BERT,
    "jina-reranker-v1-tiny-en/ggml-model-f16.gguf": RERANKER,
    "tinyllamas/split/stories15M-q8_0-00001-of-00003.gguf": TINY_LLAMA,
}


def stand_in(repository: str, file: str | None) -> str | None:
    """Return the file's name in the folder of stand-ins; None for a model that has none."""
    return BY_FILE.get(file or "") or BY_REPOSITORY.get(repository)
