"""`PageAnswer`: an answer while it is made: its text so far, and its events for whoever watches. Pure.

Events are numbered. A page that was reloaded asks for those behind the last one it has seen; neighbours that
add to the same text travel as one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started
from server.openai.errors import RequestFailed
from server.pages.records import Call, Message, State

_encode = msgspec.json.Encoder().encode

_Entry = tuple[str, int, str]
"""The kind of an event, the call it belongs to, and its text."""
_ADDING = frozenset({"text", "thoughts", "arguments"})


class PageAnswer:
    """An `EventListener` behind an `AnswerReader`. `changed` is called after each event."""

    def __init__(self, message: Message, changed: Callable[[], None]) -> None:
        self.message = message
        self.is_ended = False
        self._changed = changed
        self._log: list[_Entry] = []
        self._texts: dict[tuple[str, int], list[str]] = {}
        self._begun_s = time.perf_counter()

    @property
    def n_events(self) -> int:
        """The number of events so far."""
        return len(self._log)

    # --- the listener ---

    def on_event(self, event: Event) -> None:
        """Take an event. Raises RequestFailed for a `Failure`."""
        content = self.message.content
        match event:
            case ThoughtDelta():
                self._add("thoughts", 0, event.text)
            case CallBegin():
                content.calls.append(Call(id=event.call_id, name=event.name))
                head = _encode({"id": event.call_id, "name": event.name}).decode()
                self._note("call", event.call, head)
            case CallDelta():
                self._add("arguments", event.call, event.text)
            case CallEnd():
                if ("arguments", event.call) not in self._texts:
                    self._add("arguments", event.call, "{}")
            case Delta():
                self._add("text", 0, event.text)
            case ChoiceEnd():
                content.finish_reason = event.finish_reason
            case Started():
                content.prompt_tokens, content.cached_tokens = event.prompt_tokens, event.cached_tokens
                self._note("started", 0, _encode({"prompt_tokens": event.prompt_tokens}).decode())
            case Finish():
                content.prompt_tokens = event.usage.prompt_tokens
                content.cached_tokens = event.usage.cached_tokens
                content.completion_tokens = event.usage.completion_tokens
                timings = event.timings
                if timings.predicted_ms > 0:
                    content.tokens_per_second = round(1e3 * timings.predicted_n / timings.predicted_ms, 2)
            case Failure():
                raise RequestFailed(event)

    async def drained(self) -> None:
        """Return at once: nobody has to read what is kept."""

    def end(self, state: State, error: str | None = None) -> None:
        """End the answer; the last event has the whole message."""
        self.message.state = state
        self.message.content.error = error
        self.fill()
        self.is_ended = True
        self._note("end", 0, _encode(self.message).decode())

    # --- what it says ---

    def fill(self) -> Message:
        """Return the message with everything that it says so far."""
        content = self.message.content
        for (kind, call), texts in self._texts.items():
            if len(texts) > 1:
                texts[:] = ["".join(texts)]
            if kind == "text":
                content.text = texts[0]
            elif kind == "thoughts":
                content.thoughts = texts[0]
            else:
                content.calls[call].arguments = texts[0]
        return self.message

    def events(self, after: int) -> tuple[bytes, int]:
        """Return the events behind the first `after` as server-sent events, and the number of the last."""
        parts: list[bytes] = []
        place = after
        while place < len(self._log):
            kind, call, text = self._log[place]
            texts = [text]
            place += 1
            while place < len(self._log) and kind in _ADDING and self._log[place][:2] == (kind, call):
                texts.append(self._log[place][2])
                place += 1
            parts.append(_event(place, kind, call, texts))
        return b"".join(parts), place

    # --- inside ---

    def _add(self, kind: str, call: int, text: str) -> None:
        if not text:
            return
        content = self.message.content
        if content.first_token_ms is None:
            content.first_token_ms = round(1e3 * (time.perf_counter() - self._begun_s), 1)
        self._texts.setdefault((kind, call), []).append(text)
        self._note(kind, call, text)

    def _note(self, kind: str, call: int, text: str) -> None:
        self._log.append((kind, call, text))
        self._changed()


def _event(number: int, kind: str, call: int, texts: Sequence[str]) -> bytes:
    body: dict[str, Any] = {"type": kind}
    if kind in _ADDING:
        body["text"] = "".join(texts)
    else:
        body["data"] = msgspec.Raw(texts[0].encode())
    if kind in ("call", "arguments"):
        body["call"] = call
    return b"id: %d\ndata: %b\n\n" % (number, _encode(body))
