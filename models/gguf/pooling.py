"""`pooling_of`: the way in which a model makes a vector or scores of a text, as its header says. Pure."""

from __future__ import annotations

from typing import Final

from models.gguf.info import GGUFInfo
from models.gguf.reader import GGUFArray
from models.pooling import POOLING_NAMES, Pooling, PoolingName

_WHOLE: Final = frozenset({"t5encoder", "gemma-embedding"})
"""Encoders whose header doesn't say that their tokens attend to later ones."""
_DIFFUSION: Final = frozenset({"dream", "llada", "llada-moe", "rnd1"})
"""Models whose tokens attend to later ones and that write text all the same."""
_CHOOSING: Final = frozenset({"qwen3", "qwen3vl"})
"""Architectures whose head is a choice between labels: llama.cpp gives the first one's probability."""
_HEADS: Final = ("cls.weight", "cls.output.weight")
PROMPT_PREFIX: Final = "sentence_transformers.prompts."
DEFAULT_PROMPT_KEY: Final = "sentence_transformers.default_prompt_name"
"""The keys of a file's prompts, each by its name, and of the name of the one that is used by itself."""
MAX_LABELS: Final = 65_536
"""A longer list of labels is taken for a mistake."""


def pooling_of(info: GGUFInfo, asked: PoolingName | None = None) -> Pooling | None:
    """Return the pooling of a model, by its header unless the user has `asked` for one.

    None: the model writes text, and nobody wants anything else of it. An encoder whose header names no
    pooling has the mean, as sentence-transformers takes it for, or its head's scores if it has a head.
    """
    architecture = info.architecture
    if architecture in _DIFFUSION:
        return None
    looks_ahead = info.metadata.get(f"{architecture}.attention.causal") is False
    is_causal = architecture not in _WHOLE and not looks_ahead
    name = asked or _named(info, is_causal=is_causal)
    if name is None:
        return None
    is_ranking = name == "rank"
    return Pooling(
        name=name,
        is_causal=is_causal,
        labels=_labels(info) if is_ranking else (),
        gives_probability=is_ranking and architecture in _CHOOSING,
    )


def has_head(info: GGUFInfo) -> bool:
    """Return True if the model has a classifier's head."""
    return any(tensor.name in _HEADS for tensor in info.tensors)


def _named(info: GGUFInfo, *, is_causal: bool) -> PoolingName | None:
    number = info.hyperparameter("pooling_type")
    if number is not None and 0 <= number < len(POOLING_NAMES):
        name = POOLING_NAMES[number]
        return None if is_causal and name == "none" and not _projects(info) else name
    if is_causal:
        return None
    return "rank" if has_head(info) else "mean"


def _projects(info: GGUFInfo) -> bool:
    """Return True if the model's vectors pass through a layer behind it, as a ColBERT's tokens do."""
    return any(tensor.name == "dense_2.weight" for tensor in info.tensors)


def _labels(info: GGUFInfo) -> tuple[str, ...]:
    labels = info.metadata.get(f"{info.architecture}.classifier.output_labels")
    if not isinstance(labels, GGUFArray) or labels.element_type != "str" or labels.length > MAX_LABELS:
        return ()
    return tuple(label.decode("utf-8", "replace") for label in labels.strings())
