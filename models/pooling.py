"""`Pooling`: the way in which a model makes a vector or scores of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

PoolingName = Literal["none", "mean", "cls", "last", "rank"]
"""`none` keeps a vector per token; `rank` is a classifier's head, with a score per label."""
PooledKind = Literal["embedding", "rerank", "classification"]
"""A model gives vectors, one score for a pair of texts, or a score for each of several labels."""

ModelKind = Literal["text"] | PooledKind
"""`text`: the model writes it."""

POOLING_NAMES: Final[tuple[PoolingName, ...]] = ("none", "mean", "cls", "last", "rank")
"""The names by llama.cpp's numbers (llama.h, enum llama_pooling_type)."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """The pooling that a model is served with."""

    name: PoolingName
    is_causal: bool
    """True if tokens attend to earlier ones alone: a text can be computed in parts."""
    labels: tuple[str, ...] = ()
    """The names of a head's outputs; empty where the header names none."""
    gives_probability: bool = False
    """True if a head's scores are probabilities already, of labels between which it chooses."""

    @property
    def n_scores(self) -> int:
        """The number of a head's outputs."""
        return max(1, len(self.labels))

    @property
    def kind(self) -> PooledKind:
        """The kind of model that is served so."""
        if self.name != "rank":
            return "embedding"
        return "rerank" if self.n_scores == 1 or self.gives_probability else "classification"


def kind_of(pooling: Pooling | None) -> ModelKind:
    """Return the kind of a model that is served with `pooling`; None is that of models that write text."""
    return "text" if pooling is None else pooling.kind
