"""`RunningTurns`: the answers that are being made for the web page, which go on without it.

A page that is closed or reloaded ends nothing. It watches an answer through `Turn.watch`, from any event on,
as often as it likes; an answer ends by itself or because its owner stops it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from models.errors import CorralError, RequestError
from server.openai import errors, sse
from server.pages.answer import PageAnswer
from server.pages.records import Message
from server.pages.store import ChatStore
from server.supervisor.protocol import EventSource

logger = logging.getLogger("corral.pages")

SAVE_S = 2.0
"""A running answer is kept each time after so many seconds: a killed server loses no more."""


class Turn:
    """One answer that is being made, in a task of its own. Begun by `RunningTurns.begin`."""

    def __init__(self, owner: str, chat_id: str, message: Message) -> None:
        self.owner = owner
        self.chat_id = chat_id
        self.answer = PageAnswer(message, self._changed)
        self.task: asyncio.Task[None] | None = None
        self._watchers: set[asyncio.Event] = set()

    @property
    def id(self) -> str:
        """The id of the answer's message."""
        return self.answer.message.id

    async def run(self, source: EventSource, store: ChatStore) -> None:
        """Make the answer and keep it. Raises nothing but CancelledError, by which it is stopped."""
        saving = asyncio.create_task(self._save_often(store))
        try:
            await source.subscribe(self.answer)
            await self._end(store, saving, None)
        except asyncio.CancelledError:
            await asyncio.shield(self._end(store, saving, None, stopped=True))
            raise
        except CorralError as error:
            if error.public != error.message:
                logger.warning("an answer of the page failed: %s (%s)", error.message, self.id)
            await self._end(store, saving, error.public)
        except Exception:  # nobody awaits this task: the page hears of a defect
            logger.exception("an answer of the page failed (%s)", self.id)
            await self._end(store, saving, errors.internal_error(self.id).body.message)

    async def stop(self) -> None:
        """End the answer where it is, and return when it is kept."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def watch(self, after: int, comment_s: float) -> AsyncIterator[bytes]:
        """Yield the events behind the first `after` to the last, and comments in silences."""
        news = asyncio.Event()
        self._watchers.add(news)
        try:
            place = min(after, self.answer.n_events)
            while True:
                news.clear()
                body, place = self.answer.events(place)
                if body:
                    yield body
                if self.answer.is_ended and place == self.answer.n_events:
                    return
                if place == self.answer.n_events:
                    try:
                        await asyncio.wait_for(news.wait(), comment_s)
                    except TimeoutError:
                        yield sse.COMMENT
        finally:
            self._watchers.discard(news)

    # --- inside ---

    def _changed(self) -> None:
        for news in self._watchers:
            news.set()

    async def _end(
        self, store: ChatStore, saving: asyncio.Task[None], error: str | None, *, stopped: bool = False
    ) -> None:
        """Keep the answer, then tell it: a page that has seen its end finds it in the chat."""
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        message = self.answer.fill()
        is_cut = stopped and message.content.finish_reason is None
        message.state = "stopped" if is_cut else "complete" if error is None else "failed"
        message.content.error = error
        try:
            await store.save(message)
        except CorralError as problem:
            logger.warning("an answer of the page isn't kept: %s", problem.message)
            message.content.error = error or f"the answer isn't kept: {problem.public}"
        self.answer.end(message.state, message.content.error)

    async def _save_often(self, store: ChatStore) -> None:
        n_saved = 0
        while True:
            await asyncio.sleep(SAVE_S)
            if self.answer.n_events > n_saved:
                n_saved = self.answer.n_events
                with suppress(CorralError):  # the end tries it again, and says so
                    await store.save(self.answer.fill())


class RunningTurns:
    """The running answers: one in a chat at a time. Used on the event loop."""

    def __init__(self) -> None:
        self._by_chat: dict[tuple[str, str], Turn | None] = {}

    def reserve(self, owner: str, chat_id: str) -> None:
        """Take the chat for an answer; `begin` or `release` follows. Raises RequestError while it has one."""
        if (owner, chat_id) in self._by_chat:
            raise RequestError(
                "an answer is being made in this chat; stop it first, or wait for its end", code="chat_busy"
            )
        self._by_chat[owner, chat_id] = None

    def release(self, owner: str, chat_id: str) -> None:
        """Let the chat go."""
        self._by_chat.pop((owner, chat_id), None)

    def begin(self, turn: Turn, source: EventSource, store: ChatStore) -> None:
        """Run the turn in a reserved chat."""
        key = (turn.owner, turn.chat_id)
        self._by_chat[key] = turn
        turn.task = asyncio.create_task(turn.run(source, store))
        turn.task.add_done_callback(lambda _: self._by_chat.pop(key, None))

    def of_chat(self, owner: str, chat_id: str) -> Turn | None:
        """Return the running answer of a chat."""
        return self._by_chat.get((owner, chat_id))

    def running_chats(self, owner: str) -> set[str]:
        """Return the ids of an owner's chats in which an answer is being made."""
        return {chat_id for (each, chat_id), turn in self._by_chat.items() if each == owner and turn}

    async def stop_all(self) -> None:
        """Stop every answer and keep what it says so far: the server ends."""
        await asyncio.gather(*(turn.stop() for turn in list(self._by_chat.values()) if turn is not None))
