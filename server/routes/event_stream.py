"""Writing an answer as server-sent events: straight to ASGI, as a stream sends one small chunk per token.

Starlette's StreamingResponse would add a task group, an iterator and an encoding step to each of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.errors import CorralError
from server.openai import errors, sse
from server.openai.from_engine import AnswerStream
from server.routes.disconnect import disconnected, end
from server.routes.request_record import RequestRecord, record_of
from server.worker.messages import Event

logger = logging.getLogger("corral.http")

_HEADERS = [
    (b"content-type", sse.CONTENT_TYPE.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class EventStream(Response):
    """Sends the chunks of `first`, then those of the remaining `events`, then `[DONE]`.

    An error on the way is sent as `data: {"error": …}` and ends the stream. A client that goes cancels the
    request: `events` is closed in every case. A comment is sent after each `comment_s` of silence.
    """

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        answer: AnswerStream,
        first: Sequence[bytes],
        *,
        comment_s: float,
    ) -> None:
        super().__init__()
        self.raw_headers = list(_HEADERS)
        self._events = events
        self._answer = answer
        self._first = first
        self._comment_s = comment_s
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_of(scope)
        pump = asyncio.create_task(self._pump(send, record))
        watch = asyncio.create_task(disconnected(receive))
        pulse = asyncio.create_task(self._pulse(send))
        try:
            await asyncio.wait((pump, watch), return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
            else:
                record.outcome = "disconnected"
        finally:
            await end(pump, watch, pulse)
            await self._events.aclose()
            if self._answer.finish is not None:
                record.usage = self._answer.finish.usage

    async def _pump(self, send: Send, record: RequestRecord) -> None:
        now = asyncio.get_running_loop().time
        feed = self._answer.feed
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for chunk in self._first:
            await send({"type": "http.response.body", "body": sse.data(chunk), "more_body": True})
        self._last_sent = now()
        try:
            async for event in self._events:
                for chunk in feed(event):
                    await send({"type": "http.response.body", "body": sse.data(chunk), "more_body": True})
                    self._last_sent = now()
            last = sse.DONE
        except CorralError as error:
            failed = errors.from_error(error)
            record.outcome = f"failed={failed.body.code or failed.body.type}"
            logger.warning("stream failed: %s (%s)", error.message, record.id)
            last = sse.data(failed.json())
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _pulse(self, send: Send) -> None:
        """Comments while nothing else is sent."""
        now = asyncio.get_running_loop().time
        self._last_sent = now()
        while True:
            silence = now() - self._last_sent
            if silence >= self._comment_s:
                await send({"type": "http.response.body", "body": sse.COMMENT, "more_body": True})
                self._last_sent = now()
                silence = 0.0
            await asyncio.sleep(self._comment_s - silence)
