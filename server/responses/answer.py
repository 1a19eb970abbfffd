"""`ResponseAnswer`: the response of one request, made of the parts of its answer. Pure.

It is a stream's encoder, and a whole answer is its last response: both have the same items.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.engine.events import (
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    Finish,
    FinishReason,
    PromptProgress,
    Started,
    Usage,
)
from server.openai.choices import Choices
from server.openai.errors import ApiError, RequestFailed
from server.openai.logprobs import chat_logprobs
from server.openai.response_types import progress_of, timings_in_prompt, timings_of
from server.responses.events import EventWriter
from server.responses.output import CallItem, MessageItem, OutputItem, ReasoningItem
from server.responses.read import ResponseForm
from server.responses.tools import ToolName

Status = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]


class ResponseAnswer:
    """A `StreamEncoder`, and an `EventListener` for whole answers: events behind the `AnswerReader` in.

    `store` is whether the response is kept; whoever finds that it can't be says so with `is_not_kept`.
    """

    def __init__(self, response_id: str, model: str, form: ResponseForm, *, store: bool) -> None:
        self.id = response_id
        self.finish: Finish | None = None
        """The end of the answer, once it is there."""
        self.status: Status = "in_progress"
        self._form = form
        self._model = model
        self._store = store
        self._warnings: list[str] = []
        self.created_at = int(time.time())
        self._completed_at: int | None = None
        self._writer = EventWriter()
        self._has_begun = False
        self._items: list[OutputItem] = []
        self._open: OutputItem | None = None
        self._reason: FinishReason = "stop"
        self._error: dict[str, Any] | None = None
        self._clock = Choices("chat", 1, timings_per_token=True) if form.timings else None
        self._ending = b""
        """The events before the last one, once the answer is complete."""

    # --- the encoder ---

    @property
    def usage(self) -> Usage | None:
        """The usage of the request, once it has ended."""
        return None if self.finish is None else self.finish.usage

    def feed(self, event: Event) -> bytes:
        """Return the events that `event` makes, maybe none. Raises RequestFailed for a `Failure`."""
        if self._clock is not None:
            self._clock.feed(event)
        if isinstance(event, PromptProgress):
            return self._begin() + self._progress(event)
        return self._events(event)

    def _events(self, event: Event) -> bytes:
        match event:
            case ThoughtDelta():
                return self._begin() + self._thought(event)
            case CallBegin():
                return self._begin() + self._next(self._call(event))
            case CallDelta():
                assert isinstance(self._open, CallItem)
                return self._open.add(event.text) if event.text else b""
            case CallEnd():
                return self._close(whole=True)
            case Delta():
                return self._begin() + self._content(event)
            case ChoiceEnd():
                self._reason = event.finish_reason
                return b""
            case Started():
                if event.n_left_out:
                    self._warnings.append(
                        f"truncation: {event.n_left_out:,} messages, the oldest, had no room in the context; "
                        "the model doesn't see them"
                    )
                return self._begin()
            case Finish():
                if self.status == "in_progress":
                    self.complete(event)
                return self._last_events
            case Failure():
                raise RequestFailed(event)
        return b""

    def end(self) -> bytes:
        """Return nothing: the last event ends the stream."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """Return the event of a response that failed. What was open is incomplete, and is no call."""
        begun = self._begin()
        if self.status == "cancelled":
            return begun + self._lifecycle("response.incomplete")
        self._cut()
        self.status, self._store = "failed", False
        self._error = {"code": error.body.code or error.body.type, "message": error.body.message}
        return begun + self._lifecycle("response.failed")

    def keep_alive(self) -> bytes:
        """Return an event: some clients count the silence between events, whatever comments there are."""
        if self.status != "in_progress":
            return b""  # the last events are made already and follow in a moment
        return self._lifecycle("response.in_progress") if self._has_begun else self._begin()

    # --- the whole answer ---

    def on_event(self, event: Event) -> None:
        """Take an event of an answer that isn't streamed. Raises RequestFailed for a `Failure`."""
        self.feed(event)

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def body(self) -> dict[str, Any]:
        """Return the response as it is now, without the fields that repeat the request."""
        usage = self.usage
        incomplete = self.status == "incomplete"
        body: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": self.status,
            "completed_at": self._completed_at,
            "error": self._error,
            "incomplete_details": {"reason": "max_output_tokens"} if incomplete else None,
            "model": self._model,
            "output": [] if self.status == "in_progress" else self.output(),
            "store": self._store,
            "usage": None if usage is None else usage_of(usage),
        }
        return body

    def json(self) -> bytes:
        """Return the response's JSON as it is now."""
        return bytes(self._encoded(self.body()))

    def to_keep(self) -> tuple[bytes, list[dict[str, Any]]]:
        """Return the complete response as it is kept: its JSON without the output, and the output's items."""
        body = self.body()
        output = body.pop("output")
        return bytes(self._encoded(body)), output

    def output(self) -> list[dict[str, Any]]:
        """Return the items of the output so far."""
        return [item.body for item in self._items]

    def complete(self, finish: Finish) -> None:
        """End the answer. `feed` hands out its last events when `Finish` comes to it."""
        self.finish = finish
        whole = self._reason != "length"
        begun = self._begin()
        last = self._close(whole=whole)
        if not self._items:
            last += self._next(MessageItem(self._writer, 0)) + self._close(whole=whole)
        self._completed_at = int(time.time()) if whole else None
        self.status = "completed" if whole else "incomplete"
        self._ending = begun + last

    def cancel(self) -> None:
        """End the answer where it is: somebody has cancelled it."""
        self._cut()
        self.status = "cancelled"

    def is_not_kept(self, warning: str) -> None:
        """Say in the answer that it couldn't be stored."""
        self._store = False
        self._warnings.append(warning)

    # --- inside ---

    @property
    def _last_events(self) -> bytes:
        timings: dict[str, Any] = {}
        if self._clock is not None and self.finish is not None:
            timings["timings"] = timings_of(self.finish.timings, self.finish.usage.cached_tokens)
        with self._writer.adding(**timings):
            return self._ending + self._lifecycle(f"response.{self.status}")

    def _progress(self, event: PromptProgress) -> bytes:
        told: dict[str, Any] = {"prompt_progress": progress_of(event)}
        if self._clock is not None:
            told["timings"] = timings_in_prompt(event)
        with self._writer.adding(**told):
            return self._lifecycle("response.in_progress")

    def _timings_so_far(self) -> dict[str, Any]:
        return {} if self._clock is None else {"timings": self._clock.timings_so_far()}

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._lifecycle("response.created") + self._lifecycle("response.in_progress")

    def _thought(self, event: ThoughtDelta) -> bytes:
        if not event.text:
            return b""
        before = b""
        if not isinstance(self._open, ReasoningItem):
            index = len(self._items)
            before = self._next(ReasoningItem(self._writer, index, seals=self._form.seals_thoughts))
        assert isinstance(self._open, ReasoningItem)
        return before + self._open.add(event.text)

    def _content(self, event: Delta) -> bytes:
        """Take content. A token without text may begin anything, so it begins no message."""
        is_open = isinstance(self._open, MessageItem)
        if not event.text and not (is_open and event.logprobs and self._form.logprobs):
            return b""
        before = b"" if is_open else self._next(MessageItem(self._writer, len(self._items)))
        assert isinstance(self._open, MessageItem)
        logprobs = chat_logprobs(event.logprobs).content if self._form.logprobs else []
        with self._writer.adding(**self._timings_so_far()):
            return before + self._open.add(event.text, logprobs)

    def _call(self, event: CallBegin) -> CallItem:
        name = self._form.names.get(event.name) or ToolName("function", event.name)
        return CallItem(self._writer, len(self._items), event.call_id, name)

    def _next(self, item: OutputItem) -> bytes:
        """End the open item and begin another."""
        ended = self._close(whole=True)
        self._items.append(item)
        self._open = item
        return ended + item.begin()

    def _close(self, *, whole: bool) -> bytes:
        item, self._open = self._open, None
        return b"" if item is None else item.end(whole=whole)

    def _cut(self) -> None:
        """Let the open item be incomplete, without telling: the last event has it."""
        if self._open is not None:
            self._open.fill(whole=False)
            self._open = None

    def _lifecycle(self, kind: str) -> bytes:
        return self._writer.event(kind, response=self._encoded(self.body()))

    def _encoded(self, body: dict[str, Any]) -> msgspec.Raw:
        """Return a body's JSON with the fields that repeat the request."""
        echo, warnings = self._form.echo, [*self._form.warnings, *self._warnings]
        if warnings:
            echo += b',"warnings":' + msgspec.json.encode(warnings)
        return msgspec.Raw(msgspec.json.encode(body)[:-1] + b"," + echo + b"}")


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return the usage in the form of responses."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
