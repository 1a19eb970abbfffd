"""The refusals of requests that are for another kind of model."""

from __future__ import annotations

from models.pooling import Pooling

WRONG_KIND = "model_kind_not_supported"
"""The code of a request to a model that can't do what is asked of it, whatever the request says."""

MAKES_NO_VECTORS = (
    "this model writes text and makes no vectors or scores; send the request to an embedding or reranking"
    " model, or serve this one with --pooling mean or last"
)


def writes_no_text(pooling: Pooling) -> str:
    """Return the refusal of a prompt by a model that is served with `pooling`."""
    if pooling.kind == "embedding":
        return "this model makes vectors of texts and writes none; send texts to /v1/embeddings"
    return "this model gives scores of texts and writes none; send texts to /v1/rerank"
