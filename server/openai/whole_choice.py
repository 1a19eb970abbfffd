"""`WholeChoice`: one choice of a whole answer, encoded delta by delta. Pure.

An answer may have millions of logprobs. They are made into JSON as they come, a few at a time, so that
nothing is left to do at once in the end but to write it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET

from server.engine.events import FinishReason
from server.openai import answer_parts, response_types
from server.openai.choices import CallHead, ChoiceDelta
from server.openai.heading import Kind
from server.openai.requests.answer_options import AnswerOptions

_encode = msgspec.json.Encoder().encode
_NULL_END = b"null}"
"""A choice's JSON ends so as long as it has no logprobs."""
_TEXT_LISTS = response_types.TextLogprobs.__struct_fields__


class WholeChoice:
    """Choice deltas in; JSON out, in pieces."""

    def __init__(self, kind: Kind, options: AnswerOptions) -> None:
        self.n_bytes = 0
        """About how long the choice is so far."""
        self._kind = kind
        self._options = options
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[tuple[CallHead, list[str]]] = []
        """The head of each call, and the pieces of its arguments."""
        self._tokens: list[bytes] = []
        self._lists: dict[str, list[bytes]] = {}
        """The elements so far of each list that the logprobs have."""
        self._reason: FinishReason | None = None
        self._is_loop = False
        self._n_scored = 0
        self._logprob_sum = 0.0

    def add(self, delta: ChoiceDelta) -> None:
        """Take what one event adds."""
        if delta.begins is not None:
            self._calls.append((delta.begins, []))
        if delta.text:
            self._texts_of(delta).append(delta.text)
            self.n_bytes += len(delta.text)
        if delta.finish_reason is not None:
            self._reason, self._is_loop = delta.finish_reason, delta.is_loop
        if delta.tokens is not UNSET and delta.tokens:
            self._tokens.append(self._elements(delta.tokens))
        if isinstance(delta.logprobs, response_types.ChatLogprobs):
            self._extend("content", delta.logprobs.content)
        elif delta.logprobs is not None:
            for name in _TEXT_LISTS:
                self._extend(name, getattr(delta.logprobs, name))
        self._n_scored += delta.n_scored
        self._logprob_sum += delta.logprob_sum

    @property
    def unlikeliness(self) -> float:
        """Minus the mean logprob of the generated tokens; infinite without any."""
        return -self._logprob_sum / self._n_scored if self._n_scored else float("inf")

    def _texts_of(self, delta: ChoiceDelta) -> list[str]:
        """Return the list that a delta's text belongs to."""
        if delta.part == "content":
            return self._text
        return self._thoughts if delta.part == "thoughts" else self._calls[delta.call][1]

    def pieces(self, index: int) -> Iterator[bytes]:
        """Yield the choice's JSON."""
        text, reason = "".join(self._text), self._reason or "stop"
        stopped = response_types.stop_reason(is_loop=self._is_loop)
        choice: response_types.Choice
        if self._kind == "text":
            choice = response_types.TextChoice(index, text, reason, stopped)
        else:
            calls = [(head, "".join(pieces)) for head, pieces in self._calls]
            message = answer_parts.message(text, "".join(self._thoughts), calls, self._options)
            told = answer_parts.finish_reason(reason, self._options)
            assert told is not None
            choice = response_types.ChatChoice(index, message, told, stopped)
        encoded = _encode(choice)
        if not (self._options.logprobs or self._options.return_tokens):
            yield encoded
            return
        yield encoded.removesuffix(_NULL_END)
        yield from self._logprobs() if self._options.logprobs else (b"null",)
        if self._options.return_tokens:
            yield b',"tokens":'
            yield from _list(self._tokens)
        yield b"}"

    def _logprobs(self) -> Iterator[bytes]:
        if self._kind == "chat":
            yield b'{"content":'
            yield from _list(self._lists.get("content", []))
            yield b',"refusal":null}'
            return
        before = b"{"
        for name in _TEXT_LISTS:
            yield before + b'"%b":' % name.encode()
            yield from _list(self._lists.get(name, []))
            before = b","
        yield b"}"

    def _extend(self, name: str, values: Sequence[object]) -> None:
        if values:
            self._lists.setdefault(name, []).append(self._elements(values))

    def _elements(self, values: Sequence[object]) -> bytes:
        encoded = _encode(values)[1:-1]
        self.n_bytes += len(encoded) + 1
        return encoded


def _list(elements: list[bytes]) -> Iterator[bytes]:
    before = b"["
    for some in elements:
        yield before
        yield some
        before = b","
    yield b"]" if elements else b"[]"
