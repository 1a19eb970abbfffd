"""`KeptChat`: a chat completion that is kept when it is complete, streamed or whole."""

from __future__ import annotations

from typing import Any

import msgspec

from server.engine.events import Event, Finish
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from server.openai.heading import Heading
from server.openai.requests.answer_options import AnswerOptions
from server.openai.response import WholeAnswer
from server.responses.records import Item, Record
from server.responses.store import ResponseStore
from server.supervisor.protocol import EventListener, EventSource


class KeptChat:
    """An `EventSource`: hands the events of a chat on, and keeps its whole answer before its end."""

    def __init__(
        self,
        source: EventSource,
        store: ResponseStore,
        owner: str,
        heading: Heading,
        options: AnswerOptions,
        request: Generate,
        metadata: dict[str, str],
    ) -> None:
        self._source = source
        self._store = store
        self._owner = owner
        self._heading = heading
        self._whole = WholeAnswer(heading, options)
        self._request = request
        self._metadata = metadata

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request. An answer that can't be kept is answered all the same; the log has the reason."""
        both = _Both(listener, self._whole)
        await self._source.subscribe(both)
        if both.finish is None:
            return
        self._whole.on_event(both.finish)
        await self._store.keep(lambda: (self._record(), self._messages(), ()))
        listener.on_event(both.finish)

    def _record(self) -> Record:
        body = b"".join(self._whole.pieces())
        metadata = msgspec.json.encode(self._metadata)
        return Record(
            id=self._heading.id,
            kind="completion",
            owner=self._owner,
            created=self._heading.created,
            body=body[:-1] + b',"metadata":' + metadata + b"}",
        )

    def _messages(self) -> list[Item]:
        prompt: Any = self._request.prompt
        if isinstance(prompt, msgspec.Raw):
            prompt = msgspec.msgpack.decode(prompt, type=ChatPrompt)
        assert isinstance(prompt, ChatPrompt)
        ids = [f"{self._heading.id}-{i}" for i in range(len(prompt.messages))]
        return [
            Item(id=item_id, body=msgspec.json.encode({"id": item_id, **message}))
            for item_id, message in zip(ids, prompt.messages, strict=True)
        ]


class _Both:
    """An `EventListener` that hands events on to two, and holds `Finish`."""

    def __init__(self, listener: EventListener, whole: WholeAnswer) -> None:
        self.finish: Finish | None = None
        self._listener = listener
        self._whole = whole

    def on_event(self, event: Event) -> None:
        if isinstance(event, Finish):
            self.finish = event
            return
        self._listener.on_event(event)
        self._whole.on_event(event)

    async def drained(self) -> None:
        await self._listener.drained()
