"""`list_of`: a part of a long list in OpenAI's form, by `after`, `limit` and `order`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query

from server.responses.records import Item, Page

Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]


def page_of(order: Order, after: str | None, limit: int) -> Page:
    """Return the part of a list that a request wants."""
    return Page(limit=limit, after=after, newest_first=order == "desc")


def list_of(items: Sequence[Item], *, has_more: bool = False) -> bytes:
    """Return the JSON of a list's part."""
    body: dict[str, Any] = {
        "object": "list",
        "data": [msgspec.Raw(item.body) for item in items],
        "first_id": items[0].id if items else None,
        "last_id": items[-1].id if items else None,
        "has_more": has_more,
    }
    return msgspec.json.encode(body)
