"""Writing an answer as server-sent events: straight to ASGI, as a stream sends one small chunk per token.

Where the events can be listened to, a token goes from the worker's socket to the client's in one call: no
task wakes for it, and no middleware is passed. Starlette's StreamingResponse would add a task group, an
iterator and an encoding step to each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.errors import CorralError
from server.engine.events import Event, Finish
from server.http.access_log import RequestRecord, record_of
from server.http.body_writer import BodyWriter
from server.http.direct_send import direct_send
from server.http.disconnect import disconnected, end
from server.openai import errors, sse
from server.openai.chunks import AnswerStream
from server.supervisor.protocol import Listenable

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_of(scope)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        stream = _Stream(self._answer, BodyWriter(direct_send(scope, send)), self._comment_s)
        pump = asyncio.create_task(self._pump(stream, record))
        watch = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait((pump, watch), return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
            else:
                record.outcome = "disconnected"
        finally:
            await end(pump, watch)
            stream.stop()
            await self._events.aclose()
            if self._answer.finish is not None:
                record.usage = self._answer.finish.usage

    async def _pump(self, stream: _Stream, record: RequestRecord) -> None:
        for chunk in self._first:
            stream.body.write(sse.data(chunk))
        try:
            if isinstance(self._events, Listenable):
                self._events.listen(stream.take)
                await stream.ended
            else:
                async for event in self._events:
                    stream.take(event)
                    await stream.body.drained()
                    if stream.ended.done():
                        await stream.ended
            last = sse.DONE
        except CorralError as error:
            failed = errors.from_error(error)
            record.outcome = f"failed={failed.body.code or failed.body.type}"
            logger.warning("stream failed: %s (%s)", error.message, record.id)
            last = sse.data(failed.json())
        stream.hush()
        await stream.body.end(last)


class _Stream:
    """One stream on its way out: events in, chunks to `body`, and comments while there are none."""

    def __init__(self, answer: AnswerStream, body: BodyWriter, comment_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.body = body
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done after the terminal event was taken; holds what `take` has caught."""
        self._chunks_of = answer.feed
        self._comment_s = comment_s
        self._write = body.write
        self._now = loop.time
        self._last_sent = loop.time()
        self._pulse = loop.call_later(comment_s, self._comment)

    def take(self, event: Event) -> None:
        """Raises nothing: the caller has nothing to do with this stream's errors, so `ended` gets them."""
        try:
            for chunk in self._chunks_of(event):
                self._write(b"data: " + chunk + b"\n\n")
                self._last_sent = self._now()
            if isinstance(event, Finish):
                self.ended.set_result(None)
        except Exception as error:  # noqa: BLE001 — raised again where `ended` is awaited
            if not self.ended.done():
                self.ended.set_exception(error)

    def hush(self) -> None:
        """No more comments."""
        self._pulse.cancel()

    def stop(self) -> None:
        """Nothing more is sent, waited for or complained of."""
        self.hush()
        self.body.abandon()
        if not self.ended.cancel() and not self.ended.cancelled():
            self.ended.exception()

    def _comment(self) -> None:
        silence = self._now() - self._last_sent
        if silence >= self._comment_s:
            silence = 0.0
            self._last_sent = self._now()
            self._send_comment()
        self._pulse = asyncio.get_running_loop().call_later(self._comment_s - silence, self._comment)

    def _send_comment(self) -> None:
        if self.body.waiting:
            return  # silence is the client's choice
        try:
            self.body.write(sse.COMMENT)
        except Exception as error:  # noqa: BLE001 — as in `take`
            if not self.ended.done():
                self.ended.set_exception(error)
