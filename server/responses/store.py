"""`ResponseStore`: the kept responses, for the event loop; the file is used in a thread of its own.

Calls are done in the order in which they are made, so what was kept is there for the next one. Without a
file nothing is kept, and whoever asks for it is told which setting says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from models.errors import NotKept, RequestError, StoreError
from server.responses.database import Item, Kind, Limits, Missing, Record, Side, StateDatabase
from server.responses.read import History, HistoryWanted

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
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._opened: StateDatabase | None = None

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
        self._thread.submit(self._close)
        self._thread.shutdown()

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
            return f"the response isn't kept: {error.message}"
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

    async def records(self, owner: str, kind: Kind) -> list[Record]:
        """Return all records of a kind, the oldest first; none where nothing is kept."""
        return await self._run(lambda state: state.records(owner, kind)) if self.is_on else []

    async def items(self, owner: str, kind: Kind, record_id: str, side: Side = "input") -> list[Item]:
        """Return a record's items. Raises NotKept."""
        return await self._known(kind, record_id, lambda state: state.items(owner, kind, record_id, side))

    async def append(self, owner: str, conversation: str, items: Sequence[Item]) -> None:
        """Add items to a conversation. Raises NotKept."""
        await self._known(
            "conversation", conversation, lambda state: state.append(owner, conversation, items)
        )

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
        except Missing as error:
            raise self._refers_to_nothing(wanted, error.record_id) from error
        references = await self._run(lambda state: state.find_items(owner, wanted.references))
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
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._act, action)

    def _act(self, action: Callable[[StateDatabase], R]) -> R:
        if self._opened is None:
            assert self._path is not None
            self._opened = StateDatabase(self._path, self._limits)
        return action(self._opened)

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def item_of(body: bytes) -> Item:
    """Return an item's JSON with its id, as it is kept."""
    return Item(id=msgspec.json.decode(body, type=_Identified).id, body=body)


def encoded_item(item: dict[str, Any]) -> Item:
    """Return an item that has an id, as it is kept."""
    return Item(id=str(item["id"]), body=msgspec.json.encode(item))


class _Identified(msgspec.Struct):
    id: str
