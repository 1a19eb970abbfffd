"""`OllamaAnswer`: an answer of `/api/chat` or `/api/generate`, as lines of JSON or whole. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic_core import from_json

from models.errors import RequestError
from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started, TokenLogprob, Usage
from server.ollama import errors
from server.ollama.form import OllamaForm
from server.ollama.times import iso_now
from server.openai.errors import ApiError, RequestFailed
from server.openai.response import MAX_ANSWER_BYTES

CONTENT_TYPE = "application/x-ndjson"
"""The type of a stream: each line is a JSON object."""


class OllamaAnswer:
    """An `EventListener` for a whole answer, a `StreamEncoder` for a stream.

    A call comes when it is complete, in a line of its own; one that the token limit cuts doesn't come.
    """

    def __init__(self, model: str, form: OllamaForm, *, streamed: bool, begun_ns: int) -> None:
        """`model`: the name that the client has for it. `begun_ns`: when the request came, by
        `time.monotonic_ns`."""
        self.usage: Usage | None = None
        self._n_left_out = 0
        """So much of the request had no room in the context."""
        self._model = model
        self._form = form
        self._streamed = streamed
        self._begun_ns = begun_ns
        self._tokens: list[int] = []
        self._content: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._call: tuple[CallBegin, list[str]] | None = None
        self._n_calls = 0
        self._n_chars = 0
        self._end: ChoiceEnd | None = None
        self._last: dict[str, Any] = {}

    def on_event(self, event: Event) -> None:
        """Take an event of a whole answer. Raises RequestFailed, and RequestError for too long an answer."""
        self.feed(event)
        if self._n_chars > MAX_ANSWER_BYTES:
            raise RequestError(
                f"the answer has more than {MAX_ANSWER_BYTES:,} characters; lower 'options.num_predict', or"
                " stream it",
                code="answer_too_large",
            )

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def feed(self, event: Event) -> bytes:
        """Return the lines that an event makes, maybe none. Raises RequestFailed for a `Failure`."""
        match event:
            case Delta():
                return self._delta(event)
            case Started():
                self._tokens += event.tokens
                self._n_left_out = event.n_left_out
            case ChoiceEnd():
                self._end = event
            case Finish():
                self.usage = event.usage
                self._last = self._ending(event)
                return self._line({}, **self._last) if self._streamed else b""
            case Failure():
                raise RequestFailed(event)
            case _:
                pass
        return b""

    def end(self) -> bytes:
        """Return nothing: the line with `done: true` came with the usage."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """Return the line of an error, which ends the stream."""
        return errors.from_api_error(error) + b"\n"

    def keep_alive(self) -> bytes:
        """Return a line without text: clients read each line as JSON, so there are no comments."""
        return self._line({})

    def json(self) -> bytes:
        """Return the whole answer. Only after `Finish`."""
        parts: dict[str, Any] = {"content": "".join(self._content)}
        if self._thoughts:
            parts["thinking"] = "".join(self._thoughts)
        if self._calls:
            parts["tool_calls"] = self._calls
        return msgspec.json.encode(self._body(parts, self._logprobs, **self._last))

    # --- inside ---

    def _delta(self, event: Delta) -> bytes:
        self._n_chars += len(event.text)
        if self._form.tells_context:
            self._tokens += event.tokens
        parts: dict[str, Any] = {}
        match event:
            case CallBegin():
                self._call = event, []
            case CallDelta() if self._call is not None:
                self._call[1].append(event.text)
            case CallEnd() if self._call is not None:
                parts["tool_calls"] = [self._called(*self._call)]
            case ThoughtDelta() if event.text:
                parts["thinking"] = event.text
            case CallDelta() | CallEnd() | ThoughtDelta():
                pass
            case _ if event.text:
                parts["content"] = event.text
        scored = (
            [] if self._form.n_top is None else [_scored(each, self._form.n_top) for each in event.logprobs]
        )
        if self._streamed:
            return self._line(parts, scored) if parts or scored else b""
        self._keep(parts, scored)
        return b""

    def _keep(self, parts: dict[str, Any], scored: list[dict[str, Any]]) -> None:
        if "content" in parts:
            self._content.append(parts["content"])
        if "thinking" in parts:
            self._thoughts.append(parts["thinking"])
        self._calls += parts.get("tool_calls", ())
        self._logprobs += scored

    def _called(self, begin: CallBegin, texts: Sequence[str]) -> dict[str, Any]:
        self._call = None
        arguments = from_json("".join(texts) or "{}")
        function = {"index": self._n_calls, "name": begin.name, "arguments": arguments}
        self._n_calls += 1
        return {"id": begin.call_id, "function": function}

    def _ending(self, finish: Finish) -> dict[str, Any]:
        """Return what the last line says; times are in nanoseconds."""
        assert self._end is not None
        timings, usage = finish.timings, finish.usage
        total_ns = time.monotonic_ns() - self._begun_ns
        prompt_ns, eval_ns = int(timings.prompt_ms * 1e6), int(timings.predicted_ms * 1e6)
        load_ns = total_ns - prompt_ns - eval_ns - int(timings.queue_ms * 1e6)
        told: dict[str, Any] = {
            "done": True,
            "done_reason": "length" if self._end.finish_reason == "length" else "stop",
            "total_duration": total_ns,
            "load_duration": max(load_ns, 0),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": prompt_ns,
            "eval_count": usage.completion_tokens,
            "eval_duration": eval_ns,
        }
        if self._n_left_out:
            told["truncated"] = True
        if self._form.tells_context:
            told["context"] = self._tokens
        return told

    def _line(self, parts: dict[str, Any], scored: list[dict[str, Any]] | None = None, **more: Any) -> bytes:
        return msgspec.json.encode(self._body(parts, scored or [], **more)) + b"\n"

    def _body(self, parts: dict[str, Any], scored: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "created_at": iso_now()}
        if self._form.route == "chat":
            body["message"] = {"role": "assistant", "content": "", **parts}
        else:
            body["response"] = parts.pop("content", "")
            body |= parts
        body["done"] = False
        if scored:
            body["logprobs"] = scored
        return body | more


def _scored(scored: TokenLogprob, n_top: int) -> dict[str, Any]:
    told = _token(scored.piece, scored.logprob)
    if n_top:
        told["top_logprobs"] = [_token(piece, logprob) for _, piece, logprob in scored.top[:n_top]]
    return told


def _token(piece: bytes, logprob: float | None) -> dict[str, Any]:
    return {"token": piece.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(piece)}
