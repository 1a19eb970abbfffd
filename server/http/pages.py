"""`page_of`: a part of a long list in OpenAI's form, by `after`, `limit` and `order`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query

from models.errors import RequestError
from server.responses.database import Item

Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]


def page_of(items: Sequence[Item], order: Order, after: str | None, limit: int) -> bytes:
    """Return the JSON of the list's next part. `items` are in the order in which they came.

    Raises RequestError if there is no item `after`.
    """
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        start = next((i + 1 for i, item in enumerate(ordered) if item.id == after), None)
        if start is None:
            raise RequestError(f"No item with id '{after[:128]}' is in this list", param="after")
        ordered = ordered[start:]
    part = ordered[:limit]
    body: dict[str, Any] = {
        "object": "list",
        "data": [msgspec.Raw(item.body) for item in part],
        "first_id": part[0].id if part else None,
        "last_id": part[-1].id if part else None,
        "has_more": len(ordered) > len(part),
    }
    return msgspec.json.encode(body)
