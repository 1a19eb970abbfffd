"""`list_of`: a part of a long list in OpenAI's form, by `after`, `limit` and `order`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

import msgspec
from fastapi import Query
from starlette.responses import Response

from models.errors import RequestError
from server.responses.records import Item, Page

Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]


def page_of(order: Order, after: str | None, limit: int) -> Page:
    """Return the part of a list that a request wants."""
    return Page(limit=limit, after=after, newest_first=order == "desc")


class HasBody(Protocol):
    """An element of a list that is in memory."""

    @property
    def id(self) -> str:
        """The id that `after` may name."""

    def body(self) -> dict[str, Any]:
        """Return the JSON object."""


Element = TypeVar("Element", bound=HasBody)


class ListPart(msgspec.Struct, Generic[Element], frozen=True):
    """A part of a list that is in memory."""

    elements: list[Element]
    has_more: bool


def part_of(elements: Sequence[Element], order: Order, after: str | None, limit: int) -> ListPart[Element]:
    """Return the part of a list, the oldest first, that a request wants. Raises RequestError for `after`."""
    ordered = list(elements) if order == "asc" else list(reversed(elements))
    if after is not None:
        places = [place for place, element in enumerate(ordered) if element.id == after]
        if not places:
            raise RequestError(f"No item with id '{after[:128]}' is in this list", param="after")
        ordered = ordered[places[0] + 1 :]
    return ListPart(ordered[:limit], len(ordered) > limit)


def list_answer(part: ListPart[Element]) -> Response:
    """Return the answer that has this part."""
    items = [Item(id=each.id, body=msgspec.json.encode(each.body())) for each in part.elements]
    return Response(list_of(items, has_more=part.has_more), media_type="application/json")


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
