"""`RunningResponses`: the responses that are being made, so that they can be asked for and cancelled.

A conversation has one turn at a time: two responses that don't know of each other would leave it with calls
and outputs that don't match.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.errors import RequestError
from server.responses.answer import ResponseAnswer


class Turn:
    """A response's hold on its conversation, from the reading of the items to the keeping of its own."""

    def __init__(self, held: set[tuple[str, str]], owner: str) -> None:
        self._held = held
        self._owner = owner
        self._key: tuple[str, str] | None = None

    def begin(self, conversation: str) -> None:
        """Take the conversation. Raises RequestError while another response has it."""
        key = (self._owner, conversation)
        if key in self._held:
            raise _locked()
        self._held.add(key)
        self._key = key

    def end(self) -> None:
        """Let the conversation go, if it was taken; a second time does nothing."""
        if self._key is not None:
            self._held.discard(self._key)
            self._key = None


def _locked() -> RequestError:
    return RequestError(
        "Another process is currently operating on this conversation. Please retry in a few seconds.",
        param="conversation",
        code="conversation_locked",
    )


@dataclass
class Running:
    """One response that is being made."""

    owner: str
    answer: ResponseAnswer
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    turn: Turn | None = None
    """Its turn in a conversation, which ends with it."""


class RunningResponses:
    """The running responses, by their ids. Used on the event loop."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._conversations: set[tuple[str, str]] = set()
        """The owner and the id of each conversation in which a response has its turn."""

    def turn(self, owner: str) -> Turn:
        """Return the turn of a response of this owner, which hasn't begun."""
        return Turn(self._conversations, owner)

    def check_free(self, owner: str, conversation: str) -> None:
        """Raise RequestError while a response has its turn in the conversation, with OpenAI's words."""
        if (owner, conversation) in self._conversations:
            raise _locked()

    def find(self, owner: str, response_id: str) -> Running | None:
        """Return a running response of this owner."""
        running = self._running.get(response_id)
        return running if running is not None and running.owner == owner else None

    @contextmanager
    def registered(self, running: Running) -> Iterator[None]:
        """Let the response be found while it is made."""
        self._running[running.answer.id] = running
        try:
            yield
        finally:
            del self._running[running.answer.id]
            if running.turn is not None:
                running.turn.end()
            running.ended.set()
