"""`ChatStore`: the web page's chats for the event loop; the file is used in a thread of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from models.errors import NotKept
from server.pages.database import ChatDatabase
from server.pages.records import ChatHead, Message, Missing
from server.state.state_thread import StateThread

R = TypeVar("R")


class ChatStore:
    """The chats by owners: nobody sees those of another one. Methods raise NotKept and StoreError."""

    def __init__(self, path: Path | None, limit_bytes: int) -> None:
        self._path = path
        self._state = StateThread(partial(ChatDatabase, path or Path(), limit_bytes), "chats")

    @classmethod
    def off(cls) -> ChatStore:
        """Return a store that keeps nothing: the server has no page."""
        return cls(None, 0)

    @property
    def is_on(self) -> bool:
        """True if chats are kept."""
        return self._path is not None

    def close(self) -> None:
        """Close the file after the calls so far; the object may be used no more."""
        self._state.close()

    async def add(self, owner: str, chat: ChatHead, messages: Sequence[Message] = ()) -> None:
        """Keep a new chat."""
        await self._run(lambda state: state.add(owner, chat, messages))

    async def chats(self, owner: str, words: Sequence[str]) -> list[ChatHead]:
        """Return the chats that have all words, the newest first."""
        return await self._run(lambda state: state.chats(owner, words))

    async def chat(self, owner: str, chat_id: str) -> tuple[ChatHead, list[Message]]:
        """Return a chat with the messages of all its branches, the oldest first."""
        return await self._run(lambda state: state.chat(owner, chat_id))

    async def update(self, owner: str, chat_id: str, changes: dict[str, Any]) -> ChatHead:
        """Change a chat's title, settings or head."""
        return await self._run(lambda state: state.update(owner, chat_id, changes))

    async def delete(self, owner: str, chat_id: str) -> None:
        """Delete a chat and its messages."""
        await self._run(lambda state: state.delete(owner, chat_id))

    async def delete_all(self, owner: str) -> int:
        """Delete all chats; return their number."""
        return await self._run(lambda state: state.delete_all(owner))

    async def append(self, owner: str, chat_id: str, messages: Sequence[Message], title: str) -> None:
        """Add messages, of which the last becomes the head; an untitled chat gets the title."""
        await self._run(lambda state: state.append(owner, chat_id, messages, title))

    async def save(self, message: Message) -> bool:
        """Replace what a message says, and its state; return False if it was deleted."""
        return await self._run(lambda state: state.save(message))

    async def _run(self, action: Callable[[ChatDatabase], R]) -> R:
        if not self.is_on:
            raise NotKept("this server keeps no chats: web_page is false")
        try:
            return await self._state.run(action)
        except Missing as error:
            raise NotKept(f"No chat or message with id '{str(error)[:128]}' is here") from error


def new_id(prefix: str) -> str:
    """Return a fresh id: the prefix and 12 bytes at random."""
    return f"{prefix}_{secrets.token_hex(12)}"
