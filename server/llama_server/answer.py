"""`NativeAnswer`: an answer of `/completion` or `/infill`, streamed or whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Any, Literal

import msgspec

from server.engine.events import (
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    Finish,
    PromptProgress,
    RequestReading,
    Started,
    TokenLogprob,
    Usage,
)
from server.ipc.messages import Generate
from server.llama_server.settings import generation_settings
from server.llama_server.single_tokens import single_tokens
from server.openai import response_types, sse
from server.openai.choices import Choices
from server.openai.errors import ApiError, RequestFailed
from server.openai.requests.answer_options import AnswerOptions

StopType = Literal["none", "eos", "limit", "word"]


@dataclass(slots=True)
class _Part:
    """One prompt of the request, with its `n` choices from `first` on."""

    request: Generate
    first: int
    clock: Choices
    n_prompt: int = 0
    n_left_out: int = 0
    reading: RequestReading | None = None
    finish: Finish | None = None


@dataclass(slots=True)
class _Choice:
    """One choice, as far as it has come."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    n_predicted: int = 0
    has_new_line: bool = False
    stop_type: StopType = "none"
    stopping_word: str = ""


class NativeAnswer:
    """An `EventListener` for a whole answer, a `StreamEncoder` for a stream.

    A choice's last object has `stop: true` and all about it; with `fields`, only those that are named there.
    A whole answer is one such object, or an array of them where the request has several choices.
    """

    def __init__(
        self,
        model: str,
        requests: Sequence[Generate],
        options: AnswerOptions,
        fields: Sequence[str] = (),
        *,
        streamed: bool,
    ) -> None:
        self._model = model
        self._options = options
        self._fields = fields
        self._streamed = streamed
        self._parts: dict[str, _Part] = {}
        first = 0
        for request in requests:
            clock = Choices("text", request.n, timings_per_token=options.timings_per_token)
            self._parts[request.id] = _Part(request, first, clock)
            first += request.n
        self._only = next(iter(self._parts.values())) if len(self._parts) == 1 else None
        self._choices = [_Choice() for _ in range(first)]

    @property
    def usage(self) -> Usage | None:
        """The usage of all prompts, once all have ended."""
        ends = [part.finish.usage for part in self._parts.values() if part.finish is not None]
        if len(ends) < len(self._parts):
            return None
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in ends),
            completion_tokens=sum(usage.completion_tokens for usage in ends),
            cached_tokens=sum(usage.cached_tokens for usage in ends),
        )

    def on_event(self, event: Event) -> None:
        """Take an event of a whole answer. Raises RequestFailed for a `Failure`."""
        self.feed(event)

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def feed(self, event: Event) -> bytes:
        """Return the server-sent events that an event makes, maybe none. Raises RequestFailed."""
        if isinstance(event, Failure):
            raise RequestFailed(event)
        part = self._only or self._parts[event.id]
        part.clock.feed(event)
        match event:
            case Started():
                part.n_prompt, part.n_left_out = event.prompt_tokens, event.n_left_out
                part.reading = event.reading
            case PromptProgress():
                return self._progress(part, event)
            case Delta():
                parts = single_tokens(event) if self._streamed else [event]
                return b"".join([self._add(part, each) for each in parts])
            case ChoiceEnd():
                self._end(event)
            case Finish():
                part.finish = event
                if self._streamed:
                    lasts = (self._last(part, part.first + n) for n in range(part.request.n))
                    return b"".join(sse.data(msgspec.json.encode(last)) for last in lasts)
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
        """Return the answer's JSON, once it has ended."""
        lasts = [
            self._last(part, part.first + n) for part in self._parts.values() for n in range(part.request.n)
        ]
        return msgspec.json.encode(lasts[0] if len(lasts) == 1 else lasts)

    def _last(self, part: _Part, index: int) -> dict[str, Any]:
        """Return the object of a choice that has ended; a stream's has none of the text."""
        finish, choice = part.finish, self._choices[index]
        assert finish is not None
        timings = response_types.timings_of(finish.timings, finish.usage.cached_tokens)
        body: dict[str, Any] = {
            "index": index,
            "content": "" if self._streamed else "".join(choice.texts),
            "tokens": [] if self._streamed else choice.tokens,
            "stop": True,
            "model": self._model,
            "tokens_predicted": choice.n_predicted,
            "tokens_evaluated": part.n_prompt,
            "has_new_line": choice.has_new_line,
            "truncated": part.n_left_out > 0
            or finish.timings.context_shifts > 0
            or self._is_cut(part, choice),
            "stop_type": choice.stop_type,
            "stopping_word": choice.stopping_word,
            "tokens_cached": part.n_prompt + choice.n_predicted,
            "timings": msgspec.to_builtins(_without_first(timings, choice.n_predicted)),
        }
        if part.reading is not None:
            body["generation_settings"] = generation_settings(
                part.reading,
                part.request,
                streamed=self._streamed,
                timings_per_token=self._options.timings_per_token,
            )
            body["prompt"] = part.reading.prompt
        if choice.logprobs and not self._streamed:
            body["completion_probabilities"] = _probabilities(part, choice.logprobs)
        return _chosen(body, self._fields) if self._fields else body

    @staticmethod
    def _is_cut(part: _Part, choice: _Choice) -> bool:
        """True for an answer that the context's end has ended, not its own limit."""
        if part.reading is None or choice.stop_type != "limit":
            return False
        limit = part.reading.params.max_tokens
        return part.request.predict_ms is None and (limit is None or choice.n_predicted < limit)

    def _progress(self, part: _Part, event: PromptProgress) -> bytes:
        if not self._streamed:
            return b""
        body: dict[str, Any] = {
            "index": part.first,
            "content": "",
            "tokens": [],
            "stop": False,
            "tokens_predicted": 0,
            "tokens_evaluated": event.total,
            "prompt_progress": response_types.progress_of(event),
        }
        if self._options.timings_per_token:
            body["timings"] = response_types.timings_in_prompt(event)
        return sse.data(msgspec.json.encode(body))

    def _add(self, part: _Part, event: Delta) -> bytes:
        choice = self._choices[event.index]
        choice.n_predicted += event.n_tokens
        choice.has_new_line = choice.has_new_line or "\n" in event.text
        tokens = event.tokens if part.request.return_tokens else ()
        if not self._streamed:
            choice.texts.append(event.text)
            choice.tokens += tokens
            choice.logprobs += event.logprobs
            return b""
        if not (event.text or tokens or event.logprobs):
            return b""
        body: dict[str, Any] = {
            "index": event.index,
            "content": event.text,
            "tokens": tokens,
            "stop": False,
            "tokens_predicted": choice.n_predicted,
            "tokens_evaluated": part.n_prompt,
        }
        if self._options.timings_per_token:
            body["timings"] = part.clock.timings_so_far()
        if event.logprobs:
            body["completion_probabilities"] = _probabilities(part, event.logprobs)
        return sse.data(msgspec.json.encode(body))

    def _end(self, event: ChoiceEnd) -> None:
        choice = self._choices[event.index]
        if event.finish_reason == "length":
            choice.stop_type = "limit"
        elif event.stop is not None:
            choice.stop_type, choice.stopping_word = "word", event.stop
        else:
            choice.stop_type = "eos"


def _without_first(timings: response_types.Timings, n_predicted: int) -> response_types.Timings:
    """Return a choice's timings with llama-server's rates.

    The first token comes with the prompt's last step, at the time at which `predicted_ms` begins, so it
    doesn't count.
    """
    n_steps, ms = n_predicted - 1, timings.predicted_ms
    return msgspec.structs.replace(
        timings,
        predicted_n=n_predicted,
        predicted_per_token_ms=ms / n_steps if n_steps > 0 else 0.0,
        predicted_per_second=1e3 * n_steps / ms if n_steps > 0 and ms > 0 else 0.0,
    )


def _probabilities(part: _Part, tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    after = part.request.after_sampling
    top = "top_probs" if after else "top_logprobs"
    return [
        _scored(one.token, one.piece, one.logprob, after=after)
        | {top: [_scored(*other, after=after) for other in one.top]}
        for one in tokens
    ]


def _scored(token: int, piece: bytes, logprob: float | None, *, after: bool) -> dict[str, Any]:
    spelled = {"id": token, "token": piece.decode("utf-8", "replace"), "bytes": list(piece)}
    if after:
        return {**spelled, "prob": 0.0 if logprob is None else exp(logprob)}
    return {**spelled, "logprob": logprob}


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
