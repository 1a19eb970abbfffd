"""`InfillAnswer`: an answer of `/infill` in llama-server's own form, streamed or whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started, TokenLogprob, Usage
from server.openai import response_types, sse
from server.openai.choices import Choices
from server.openai.errors import ApiError, RequestFailed
from server.openai.requests.answer_options import AnswerOptions

StopType = Literal["none", "eos", "limit", "word"]


class InfillAnswer:
    """An `EventListener` for a whole answer, a `StreamEncoder` for a stream.

    The last object has `stop: true` and all about the answer; with `fields`, only those that are named there.
    """

    def __init__(
        self, model: str, options: AnswerOptions, fields: Sequence[str] = (), *, streamed: bool
    ) -> None:
        self.finish: Finish | None = None
        self._model = model
        self._options = options
        self._fields = fields
        self._streamed = streamed
        self._clock = Choices("text", 1, timings_per_token=options.timings_per_token)
        self._texts: list[str] = []
        self._tokens: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._n_predicted = self._n_prompt = self._n_left_out = 0
        self._has_new_line = False
        self._stop_type: StopType = "none"
        self._stopping_word = ""

    @property
    def usage(self) -> Usage | None:
        """The usage of the request, once it has ended."""
        return None if self.finish is None else self.finish.usage

    def on_event(self, event: Event) -> None:
        """Take an event of a whole answer. Raises RequestFailed for a `Failure`."""
        self.feed(event)

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def feed(self, event: Event) -> bytes:
        """Return the server-sent event that an event makes, maybe none. Raises RequestFailed."""
        self._clock.feed(event)
        match event:
            case Failure():
                raise RequestFailed(event)
            case Started():
                self._n_prompt, self._n_left_out = event.prompt_tokens, event.n_left_out
            case Delta():
                return self._add(event)
            case ChoiceEnd():
                self._end(event)
            case Finish():
                self.finish = event
                return sse.data(self.json()) if self._streamed else b""
            case _:
                pass
        return b""

    def end(self) -> bytes:
        """Return nothing: the object with `stop: true` is a stream's last event, as llama-server has it."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """Return the last bytes of a stream that an error ends."""
        return sse.data(error.json())

    def keep_alive(self) -> bytes:
        """Return a comment, which clients skip."""
        return sse.COMMENT

    def json(self) -> bytes:
        """Return the answer's JSON, once it has ended; a stream's last object has none of the text."""
        finish = self.finish
        assert finish is not None
        body: dict[str, Any] = {
            "index": 0,
            "content": "" if self._streamed else "".join(self._texts),
            "tokens": [] if self._streamed else self._tokens,
            "stop": True,
            "model": self._model,
            "tokens_predicted": finish.usage.completion_tokens,
            "tokens_evaluated": finish.usage.prompt_tokens,
            "has_new_line": self._has_new_line,
            "truncated": self._n_left_out > 0 or finish.timings.context_shifts > 0,
            "stop_type": self._stop_type,
            "stopping_word": self._stopping_word,
            "tokens_cached": finish.usage.prompt_tokens + finish.usage.completion_tokens,
            "timings": msgspec.to_builtins(
                response_types.timings_of(finish.timings, finish.usage.cached_tokens)
            ),
        }
        if self._logprobs and not self._streamed:
            body["completion_probabilities"] = list(map(_probabilities, self._logprobs))
        return msgspec.json.encode(_chosen(body, self._fields) if self._fields else body)

    def _add(self, event: Delta) -> bytes:
        self._n_predicted += event.n_tokens
        self._has_new_line = self._has_new_line or "\n" in event.text
        if not self._streamed:
            self._texts.append(event.text)
            self._tokens += event.tokens
            self._logprobs += event.logprobs
            return b""
        if not (event.text or event.tokens or event.logprobs):
            return b""
        body: dict[str, Any] = {
            "index": 0,
            "content": event.text,
            "tokens": event.tokens,
            "stop": False,
            "tokens_predicted": self._n_predicted,
            "tokens_evaluated": self._n_prompt,
        }
        if self._options.timings_per_token:
            body["timings"] = self._clock.timings_so_far()
        if event.logprobs:
            body["completion_probabilities"] = list(map(_probabilities, event.logprobs))
        return sse.data(msgspec.json.encode(body))

    def _end(self, event: ChoiceEnd) -> None:
        if event.finish_reason == "length":
            self._stop_type = "limit"
        elif event.stop is not None:
            self._stop_type, self._stopping_word = "word", event.stop
        else:
            self._stop_type = "eos"


def _probabilities(scored: TokenLogprob) -> dict[str, Any]:
    top = [_scored(token, piece, logprob) for token, piece, logprob in scored.top]
    return _scored(scored.token, scored.piece, scored.logprob) | {"top_logprobs": top}


def _scored(token: int, piece: bytes, logprob: float | None) -> dict[str, Any]:
    return {"id": token, "token": piece.decode("utf-8", "replace"), "bytes": list(piece), "logprob": logprob}


def _chosen(body: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Return the values at the paths under the paths themselves; those that aren't there are left out."""
    chosen: dict[str, Any] = {}
    for path in paths:
        value: Any = body
        for key in path.split("/"):
            if not isinstance(value, dict) or key not in value:
                break
            value = value[key]
        else:
            chosen[path] = value
    return chosen
