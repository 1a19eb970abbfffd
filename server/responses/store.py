"""`ResponseStore`: the kept responses, for the event loop; the file is used in a thread of its own.

Calls are done in the order in which they are made, so what was kept is there for the next one. Without a
file nothing is kept, and whoever asks for it is told which setting says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from models.errors import NotKept, RequestError, StoreError
from server.responses.database import MOST_CHAIN, MOST_HISTORY_BYTES, StateDatabase
from server.responses.read import History, HistoryWanted
from server.responses.records import (
    CompletionFilter,
    Item,
    Kind,
    Limits,
    Missing,
    Page,
    Part,
    Record,
    Side,
    TooLong,
)
from server.state.state_thread import StateThread

logger = logging.getLogger("corral.state")

R = TypeVar("R")

Answered = tuple[Record, Sequence[Item], Sequence[Item]]
"""A record with the items of its input and of its output."""

_NAMES: dict[Kind, str] = {"response": "Response", "conversation": "Conversation", "completion": "Completion"}
_OFF = "this server keeps no answers (response_store is false); send the whole conversation"


class ResponseStore:
    """The kept records, by owners: nobody sees those of another one."""

    def __init__(self, path: Path | None, limits: Limits) -> None:
        self._path = path
        self._state = StateThread(partial(StateDatabase, path or Path(), limits), "state")

    @classmethod
    def off(cls) -> ResponseStore:
        """Return a store that keeps nothing."""
        return cls(None, Limits(n_bytes=0, n_records=0))

    @property
    def is_on(self) -> bool:
        """True if answers are kept."""
        return self._path is not None

    def close(self) -> None:
        """Close the file after the calls so far; the object may be used no more."""
        self._state.close()

    async def keep(self, make: Callable[[], Answered], conversation: str | None = None) -> str | None:
        """Keep an answer; return None, or in one line why it couldn't be: it is good all the same.

        `make` is called in the store's thread.
        """

        def keep(state: StateDatabase) -> None:
            record, given, made = make()
            if conversation is None:
                state.add(record, given, made)
            else:
                state.add_to_conversation(record, conversation, given, made)

        try:
            await self._run(keep)
        except Missing:
            return f"the response isn't kept: the conversation {conversation} was deleted meanwhile"
        except StoreError as error:
            logger.warning("%s", error.message)
            return f"the response isn't kept: {error.public}"
        return None

    async def create(self, record: Record, items: Sequence[Item]) -> None:
        """Keep a new record. Raises StoreError, and NotKept where nothing is kept."""
        await self._known(record.kind, record.id, lambda state: state.add(record, items))

    async def get(self, owner: str, kind: Kind, record_id: str) -> Record:
        """Return a record. Raises NotKept."""
        return await self._known(kind, record_id, lambda state: state.get(owner, kind, record_id))

    async def update(self, owner: str, kind: Kind, record_id: str, body: bytes) -> None:
        """Replace a record's body. Raises NotKept."""
        await self._known(kind, record_id, lambda state: state.update(owner, kind, record_id, body))

    async def delete(self, owner: str, kind: Kind, record_id: str) -> None:
        """Delete a record. Raises NotKept."""
        await self._known(kind, record_id, lambda state: state.delete(owner, kind, record_id))

    async def completions(self, owner: str, wanted: CompletionFilter, page: Page) -> Part:
        """Return some chat completions; none where nothing is kept. Raises RequestError for `page.after`."""
        if not self.is_on:
            return Part(items=[], has_more=False)
        return _part_of(page, await self._run(lambda state: state.completions(owner, wanted, page)))

    async def items(self, owner: str, kind: Kind, record_id: str, side: Side = "input") -> list[Item]:
        """Return a record's items. Raises NotKept."""
        return await self._known(kind, record_id, lambda state: state.items(owner, kind, record_id, side))

    async def page(self, owner: str, kind: Kind, record_id: str, page: Page) -> Part:
        """Return some items of a record's input. Raises NotKept, and RequestError for `page.after`."""
        return _part_of(
            page, await self._known(kind, record_id, lambda state: state.page(owner, kind, record_id, page))
        )

    async def item(self, owner: str, conversation: str, item_id: str) -> Item:
        """Return an item of a conversation. Raises NotKept."""
        return await self._known(
            "conversation", conversation, lambda state: state.item(owner, conversation, item_id)
        )

    async def append(
        self, owner: str, conversation: str, call_ids: Sequence[str], make: Callable[[list[Item]], list[Item]]
    ) -> list[Item]:
        """Add the items that `make` returns to a conversation; it gets those with one of `call_ids`.

        Raises NotKept, and RequestError for what `make` refuses or a conversation that gets too long.
        """
        try:
            return await self._known(
                "conversation", conversation, lambda state: state.append(owner, conversation, call_ids, make)
            )
        except TooLong as error:
            raise _too_long("conversation", "items") from error

    async def delete_item(self, owner: str, conversation: str, item_id: str) -> None:
        """Delete an item of a conversation. Raises NotKept."""
        await self._known(
            "conversation", conversation, lambda state: state.delete_item(owner, conversation, item_id)
        )

    async def history(self, owner: str, wanted: HistoryWanted) -> History:
        """Return what a request refers to. Raises RequestError, naming the field that refers to nothing."""
        previous, conversation = wanted.previous_response_id, wanted.conversation
        if not self.is_on:
            param = "previous_response_id" if previous else "conversation" if conversation else "input"
            raise RequestError(f"'{param}' refers to a kept response, and {_OFF}", param=param)
        found: list[Item] = []
        try:
            if previous is not None:
                found = await self._run(lambda state: state.history(owner, previous))
            elif conversation is not None:
                found = await self._run(lambda state: state.conversation(owner, conversation))
            references = await self._run(lambda state: state.find_items(owner, wanted.references))
        except Missing as error:
            raise self._refers_to_nothing(wanted, error.record_id) from error
        except TooLong as error:
            if previous is not None:
                raise _too_long("chain of responses", "previous_response_id") from error
            raise _too_long("conversation", "conversation" if conversation else "input") from error
        return History(
            items=[item.body for item in found],
            references=references,
        )

    def _refers_to_nothing(self, wanted: HistoryWanted, missing: str) -> Exception:
        if wanted.previous_response_id is None:
            return NotKept(f"Conversation with id '{missing[:128]}' not found.", param="conversation")
        shown = wanted.previous_response_id[:128]
        if missing == wanted.previous_response_id:
            message = f"Previous response with id '{shown}' not found."
        else:
            message = (
                f"Response '{missing[:128]}', to which '{shown}' goes back, is kept no more; send the whole "
                "conversation"
            )
        return RequestError(message, param="previous_response_id", code="previous_response_not_found")

    async def _known(self, kind: Kind, record_id: str, action: Callable[[StateDatabase], R]) -> R:
        if not self.is_on:
            raise NotKept(f"{_NAMES[kind]} with id '{record_id[:128]}' not found: {_OFF}")
        try:
            return await self._run(action)
        except Missing as error:
            name = _NAMES[kind] if error.record_id == record_id else "Item"
            raise NotKept(f"{name} with id '{error.record_id[:128]}' not found.") from error

    async def _run(self, action: Callable[[StateDatabase], R]) -> R:
        assert self._path is not None
        return await self._state.run(action)


def _part_of(page: Page, part: Part | None) -> Part:
    if part is None:
        raise RequestError(f"No item with id '{(page.after or '')[:128]}' is in this list", param="after")
    return part


def _too_long(what: str, param: str) -> RequestError:
    return RequestError(
        f"the {what} has more than {MOST_HISTORY_BYTES:,} bytes of items, or {MOST_CHAIN:,} responses; begin "
        "a new one with what is still needed",
        param=param,
        code="prompt_too_large",
    )


def item_of(body: bytes) -> Item:
    """Return an item's JSON with its id, as it is kept."""
    return Item(id=msgspec.json.decode(body, type=_Identified).id, body=body)


def encoded_item(item: dict[str, Any]) -> Item:
    """Return an item that has an id, as it is kept."""
    return Item(id=str(item["id"]), body=msgspec.json.encode(item))


class _Identified(msgspec.Struct):
    id: str
