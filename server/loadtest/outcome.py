"""`Outcome`: a capture that is read: the times at which text came, token counts, the end. Pure."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from server.loadtest.events import events_of
from server.loadtest.exchange import Capture
from server.loadtest.response import MalformedResponse, Response, parse_response

SHOWN_BYTES = 300
"""An error message shows at most this much of a response."""

TEXT_FIELDS = ("text", "content", "reasoning_content", "reasoning", "tool_calls")
"""A piece with one of these fields carries something for the reader."""


@dataclass(slots=True)
class Outcome:
    """One request of a load, read. Times are seconds of `time.perf_counter`.

    `text_times` has, for each event that carried text, the time at which the last of its bytes came.
    Counts are None where the server doesn't report them. `error` is None for an answer that ended well.
    """

    label: str
    started_s: float
    ended_s: float
    text_times: list[float]
    max_tokens: int | None = None
    n_prompt_tokens: int | None = None
    n_cached_tokens: int | None = None
    n_completion_tokens: int | None = None
    finish_reason: str | None = None
    timings: dict[str, Any] | None = None
    """llama.cpp's `timings` object, where the server sends it."""
    error: str | None = None

    @property
    def n_tokens(self) -> int:
        """Generated tokens: as reported; else the limit, if it ended the answer; else pieces of text."""
        if self.n_completion_tokens is not None:
            return self.n_completion_tokens
        if self.finish_reason == "length" and self.max_tokens is not None:
            return self.max_tokens
        return len(self.text_times)

    @property
    def first_token_s(self) -> float | None:
        """Seconds from the request to the first text; None without text."""
        return self.text_times[0] - self.started_s if self.text_times else None

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between pieces of text, one fewer than `text_times`."""
        return [b - a for a, b in zip(self.text_times, self.text_times[1:], strict=False)]


def outcome_of(capture: Capture) -> Outcome:
    """Read one capture, streamed or not. Bad bytes of a server don't raise: they are an `error`."""
    ended_s = capture.ended_s if capture.ended_s is not None else capture.started_s
    request = capture.request
    outcome = Outcome(request.label, capture.started_s, ended_s, [], request.max_tokens, error=capture.error)
    raw = b"".join(capture.pieces)
    if not raw:
        outcome.error = outcome.error or "the connection was closed without an answer"
        return outcome
    try:
        response = parse_response(raw, closed=capture.closed)
    except MalformedResponse as error:
        outcome.error = outcome.error or str(error)
        return outcome
    if response.status != 200:
        outcome.error = f"HTTP {response.status}: {error_text(response.body)}"
    elif response.headers.get("content-type", "").startswith("text/event-stream"):
        _read_stream(outcome, response, capture)
    else:
        _read_answer(outcome, response)
    if outcome.error is None and not response.complete:
        outcome.error = "the connection broke off before the answer's end"
    return outcome


def error_text(body: bytes) -> str:
    """Return the message of an error response, in whatever form it is."""
    try:
        document = json.loads(body)
    except ValueError:
        return body[:SHOWN_BYTES].decode(errors="replace")
    error = document.get("error", document) if isinstance(document, dict) else document
    return str(error.get("message", error) if isinstance(error, dict) else error)[:SHOWN_BYTES]


def _read_stream(outcome: Outcome, response: Response, capture: Capture) -> None:
    ends = list(accumulate(map(len, capture.pieces)))
    finished = False
    for event in events_of(response.body):
        if event.data == b"[DONE]":
            finished = True
            break
        try:
            chunk = json.loads(event.data)
        except ValueError:
            outcome.error = f"an event that is no JSON: {event.data[:80]!r}"
            return
        if not isinstance(chunk, dict):
            outcome.error = f"an event that is no object: {event.data[:80]!r}"
            return
        if chunk.get("error"):
            outcome.error = error_text(event.data)
            return
        if _has_text(chunk):
            outcome.text_times.append(capture.times[bisect_right(ends, response.raw_offset(event.end))])
        _read_counts(outcome, chunk)
    if outcome.error is None and not finished and outcome.finish_reason is None:
        outcome.error = "the stream ended without a finish_reason"


def _read_answer(outcome: Outcome, response: Response) -> None:
    """Read an answer in one piece: its text came when it was whole."""
    if not response.complete:
        return
    try:
        document = json.loads(response.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        outcome.error = f"an answer that is no JSON object: {response.body[:80]!r}"
        return
    _read_counts(outcome, document)
    if _has_text(document):
        outcome.text_times.append(outcome.ended_s)


def _has_text(chunk: dict[str, Any]) -> bool:
    """True if any choice carries something for the reader: text, reasoning or a tool call."""
    for choice in chunk.get("choices") or ():
        part = choice.get("delta") or choice.get("message") or choice
        if any(part.get(name) for name in TEXT_FIELDS):
            return True
    return False


def _read_counts(outcome: Outcome, chunk: dict[str, Any]) -> None:
    for choice in chunk.get("choices") or ():
        outcome.finish_reason = choice.get("finish_reason") or outcome.finish_reason
    usage = chunk.get("usage")
    if usage:
        outcome.n_prompt_tokens = usage.get("prompt_tokens")
        outcome.n_completion_tokens = usage.get("completion_tokens")
        outcome.n_cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    outcome.timings = chunk.get("timings") or outcome.timings
