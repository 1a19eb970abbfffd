"""Models in Anthropic's form, and a page of their list. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from models.errors import RequestError
from server.supervisor.protocol import ModelStatus

DEFAULT_LIMIT = 20
MAX_LIMIT = 1_000
"""A page has at most this many models, as at Anthropic."""


def model_object(model: ModelStatus) -> dict[str, Any]:
    """Return a model; its sizes are the context's, if that is known."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "max_input_tokens": model.n_ctx,
        "max_tokens": model.n_ctx,
    }


def page(
    models: Sequence[ModelStatus],
    *,
    limit: int = DEFAULT_LIMIT,
    after_id: str | None = None,
    before_id: str | None = None,
) -> dict[str, Any]:
    """Return `limit` models behind `after_id`, or in front of `before_id`. Raises RequestError."""
    if not 1 <= limit <= MAX_LIMIT:
        raise RequestError(f"'limit' is {limit}; it goes from 1 to {MAX_LIMIT:,}", param="limit")
    first, last = 0, len(models)
    if after_id:
        first = _place(models, after_id, "after_id") + 1
    if before_id:
        last = _place(models, before_id, "before_id")
    found = list(models[first:last])
    shown = found[-limit:] if before_id and not after_id else found[:limit]
    return {
        "data": [model_object(model) for model in shown],
        "has_more": len(found) > len(shown),
        "first_id": shown[0].name if shown else None,
        "last_id": shown[-1].name if shown else None,
    }


def _place(models: Sequence[ModelStatus], name: str, param: str) -> int:
    for place, model in enumerate(models):
        if model.name == name:
            return place
    raise RequestError(f"'{param}' is '{name[:80]}', which is no model of the list", param=param)
