"""Records, items, pages and limits: all that a `StateDatabase` takes and returns."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["response", "conversation", "completion"]
Side = Literal["input", "output"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One response, conversation or completion, without its items."""

    id: str
    kind: Kind
    owner: str
    created: int
    body: bytes
    """JSON of the object, as it is answered but for the output."""
    previous: str | None = None
    """The response before a response."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a record."""

    id: str
    body: bytes
    """The item's JSON."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Beyond either of these the records that were used longest ago go."""

    n_bytes: int
    n_records: int


class Missing(Exception):
    """There is no such record, or it is another owner's."""

    def __init__(self, record_id: str) -> None:
        super().__init__(record_id)
        self.record_id = record_id


class TooLong(Exception):
    """A history has more bytes or responses than any request may refer to."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Wanted elements of a list: `limit` behind the one whose id is `after`."""

    limit: int
    after: str | None = None
    newest_first: bool = False


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Elements of a list."""

    items: list[Item]
    has_more: bool


class CompletionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Wanted completions: those of a model, and with all of this metadata."""

    model: str | None = None
    metadata: dict[str, str] = {}
