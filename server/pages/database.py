"""`ChatDatabase`: the web page's chats with all branches of their messages, in one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from models.errors import StoreError
from server.pages.records import ChatHead, Content, Message, Missing
from server.state.state_file import StateFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS chats (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, created REAL NOT NULL,
    updated REAL NOT NULL, head TEXT, settings BLOB NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chats_by_owner ON chats (owner, updated);
CREATE INDEX IF NOT EXISTS chats_by_use ON chats (updated, id, bytes);
CREATE TABLE IF NOT EXISTS messages (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, chat TEXT NOT NULL, parent TEXT,
    role TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, content BLOB NOT NULL,
    folded TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_chat ON messages (chat, place);
"""

_CHAT_BYTES = 400
"""About so many bytes a chat takes beside its messages, and a message beside its content."""
MOST_FOUND = 200
"""A list of chats has at most so many."""
_SNIPPET_CHARS = 40
"""A snippet has so many characters on either side of a word that was found."""
_CHAT = "id, title, created, updated, head, settings"
_MESSAGE = "id, parent, role, state, created, content"


class ChatDatabase:
    """Methods raise StoreError where the file can't be read or written, and `Missing`."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._file = StateFile(path, _SCHEMA, "or set web_page to false")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def renew(self, wait_s: float) -> None:
        """Open the file anew if it was removed or is damaged; called before each use, as StateFile says."""
        self._file.renew(wait_s)

    # --- chats ---

    def add(self, owner: str, chat: ChatHead, messages: Sequence[Message] = ()) -> None:
        """Keep a new chat."""
        settings = msgspec.json.encode(chat.settings)
        with self._file.transaction("keep a chat") as run:
            run.execute(
                f"INSERT INTO chats ({_CHAT}, owner, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of columns
                (
                    chat.id,
                    chat.title,
                    chat.created,
                    chat.updated,
                    chat.head,
                    settings,
                    owner,
                    _CHAT_BYTES + len(settings),
                ),
            )
            self._insert(run, chat.id, messages)
            self._evict(run)

    def chats(self, owner: str, words: Sequence[str]) -> list[ChatHead]:
        """Return the chats of which each has all words, in its title or its messages; the newest first."""
        with self._file.reading("list chats") as run:
            rows = run.execute(
                f"SELECT {_CHAT} FROM chats WHERE owner = ? ORDER BY updated DESC, id",  # noqa: S608 - names of columns
                (owner,),
            )
            found: list[ChatHead] = []
            for row in rows:
                chat = _chat(row)
                if not words or self._has(run, chat, [word.casefold() for word in words]):
                    found.append(chat)
                if len(found) == MOST_FOUND:
                    break
            return found

    def chat(self, owner: str, chat_id: str) -> tuple[ChatHead, list[Message]]:
        """Return a chat with all its messages, the oldest first. Raises Missing."""
        with self._file.reading("read a chat") as run:
            chat = self._chat(run, owner, chat_id)
            rows = run.execute(
                f"SELECT {_MESSAGE} FROM messages WHERE chat = ? ORDER BY place",  # noqa: S608 - names of columns
                (chat_id,),
            )
            return chat, [_message(row) for row in rows]

    def update(self, owner: str, chat_id: str, changes: dict[str, Any]) -> ChatHead:
        """Change a chat's title, settings or head, those that are in `changes`. Raises Missing."""
        with self._file.transaction("keep a chat") as run:
            chat = self._chat(run, owner, chat_id)
            if changes.get("head") is not None:
                self._has_message(run, chat_id, changes["head"])
            for name, value in changes.items():
                setattr(chat, name, value)
            run.execute(
                "UPDATE chats SET title = ?, head = ?, settings = ? WHERE id = ?",
                (chat.title, chat.head, msgspec.json.encode(chat.settings), chat_id),
            )
            return chat

    def delete(self, owner: str, chat_id: str) -> None:
        """Delete a chat and its messages. Raises Missing."""
        with self._file.transaction("delete a chat") as run:
            self._chat(run, owner, chat_id)
            self._remove(run, chat_id)

    def delete_all(self, owner: str) -> int:
        """Delete all chats of an owner; return their number."""
        with self._file.transaction("delete chats") as run:
            ids = [row[0] for row in run.execute("SELECT id FROM chats WHERE owner = ?", (owner,))]
            for chat_id in ids:
                self._remove(run, chat_id)
            return len(ids)

    # --- messages ---

    def append(self, owner: str, chat_id: str, messages: Sequence[Message], title: str | None) -> None:
        """Add messages, of which the last becomes the head, and give an untitled chat its title.

        Raises Missing, of a parent too.
        """
        with self._file.transaction("keep a message") as run:
            chat = self._chat(run, owner, chat_id)
            first = messages[0].parent
            if first is not None:
                self._has_message(run, chat_id, first)
            run.execute(
                "UPDATE chats SET head = ?, updated = ?, title = ? WHERE id = ?",
                (messages[-1].id, time.time(), chat.title or title or "", chat_id),
            )
            self._insert(run, chat_id, messages)
            self._evict(run, spared=chat_id)

    def save(self, message: Message) -> bool:
        """Replace what a message says, and its state; return False if it was deleted."""
        content = msgspec.json.encode(message.content)
        with self._file.transaction("keep an answer") as run:
            row = run.execute(
                "SELECT chat, length(content) FROM messages WHERE id = ?", (message.id,)
            ).fetchone()
            if row is None:
                return False
            run.execute(
                "UPDATE messages SET state = ?, content = ?, folded = ? WHERE id = ?",
                (message.state, content, _folded(message), message.id),
            )
            run.execute("UPDATE chats SET bytes = bytes + ? WHERE id = ?", (len(content) - row[1], row[0]))
            self._evict(run, spared=row[0])
            return True

    # --- inside ---

    def _chat(self, run: sqlite3.Connection, owner: str, chat_id: str) -> ChatHead:
        row = run.execute(
            f"SELECT {_CHAT} FROM chats WHERE id = ? AND owner = ?",  # noqa: S608 - names of columns
            (chat_id, owner),
        ).fetchone()
        if row is None:
            raise Missing(chat_id)
        return _chat(row)

    def _has_message(self, run: sqlite3.Connection, chat_id: str, message_id: str) -> None:
        """Raise Missing if the chat has no such message."""
        row = run.execute(
            "SELECT 1 FROM messages WHERE id = ? AND chat = ?", (message_id, chat_id)
        ).fetchone()
        if row is None:
            raise Missing(message_id)

    def _insert(self, run: sqlite3.Connection, chat_id: str, messages: Sequence[Message]) -> None:
        n_bytes = 0
        for message in messages:
            content = msgspec.json.encode(message.content)
            n_bytes += _CHAT_BYTES + len(content)
            run.execute(
                f"INSERT INTO messages ({_MESSAGE}, chat, folded) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of columns
                (
                    message.id,
                    message.parent,
                    message.role,
                    message.state,
                    message.created,
                    content,
                    chat_id,
                    _folded(message),
                ),
            )
        run.execute("UPDATE chats SET bytes = bytes + ? WHERE id = ?", (n_bytes, chat_id))
        row = run.execute("SELECT bytes FROM chats WHERE id = ?", (chat_id,)).fetchone()
        if row[0] > self._limit_bytes:
            raise StoreError(
                f"can't keep a chat of {row[0]:,} bytes: the limit of all chats is {self._limit_bytes:,}; "
                "raise web_page_bytes, or begin a new chat"
            )

    def _has(self, run: sqlite3.Connection, chat: ChatHead, words: Sequence[str]) -> bool:
        """True if the chat has every word; its snippet is where the first one is."""
        title = chat.title.casefold()
        for word in words:
            row = run.execute(
                "SELECT folded FROM messages WHERE chat = ? AND instr(folded, ?) > 0 ORDER BY place LIMIT 1",
                (chat.id, word),
            ).fetchone()
            if row is None and word not in title:
                return False
            if row is not None and chat.snippet is None:
                chat.snippet = _snippet(row[0], word)
        return True

    def _remove(self, run: sqlite3.Connection, chat_id: str) -> None:
        run.execute("DELETE FROM messages WHERE chat = ?", (chat_id,))
        run.execute("DELETE FROM chats WHERE id = ?", (chat_id,))

    def _evict(self, run: sqlite3.Connection, spared: str | None = None) -> None:
        """Remove the chats that were gone on with longest ago, while all are too many bytes."""
        (n_bytes,) = run.execute("SELECT coalesce(sum(bytes), 0) FROM chats").fetchone()
        while n_bytes > self._limit_bytes:
            row = run.execute(
                "SELECT id, bytes FROM chats WHERE id IS NOT ? ORDER BY updated, id LIMIT 1", (spared,)
            ).fetchone()
            if row is None:
                return
            self._remove(run, row[0])
            n_bytes -= row[1]


def _chat(row: tuple[Any, ...]) -> ChatHead:
    chat_id, title, created, updated, head, settings = row
    return ChatHead(
        id=chat_id,
        title=title,
        created=created,
        updated=updated,
        head=head,
        settings=msgspec.json.decode(settings),
    )


def _message(row: tuple[Any, ...]) -> Message:
    message_id, parent, role, state, created, content = row
    return Message(
        id=message_id,
        parent=parent,
        role=role,
        state=state,
        created=created,
        content=msgspec.json.decode(content, type=Content),
    )


def _folded(message: Message) -> str:
    """Return the text in which a search looks."""
    return message.content.text.casefold()


def _snippet(text: str, word: str) -> str:
    """Return the surroundings of a word, on one line."""
    place = text.index(word)
    begin, end = max(0, place - _SNIPPET_CHARS), place + len(word) + _SNIPPET_CHARS
    shown = " ".join(text[begin:end].split())
    return ("…" if begin else "") + shown + ("…" if end < len(text) else "")
