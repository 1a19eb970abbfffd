"""`ChunkEncoder`: choice deltas as the chunks of a stream, each a server-sent event. Pure.

Most chunks of a choice differ in their text alone, so the bytes around it are made once. That saves a
sixth of the API process's CPU time: 24.0 instead of 29.1 µs per chunk with 16 streams on two cores of a busy
EPYC (`python -m bench.stream_path`).
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from server.engine.events import Event, PromptProgress, Usage
from server.openai import answer_parts, response_types, sse
from server.openai.choices import ChoiceDelta, Choices
from server.openai.errors import ApiError
from server.openai.heading import Heading
from server.openai.requests.answer_options import AnswerOptions

_OPENING = response_types.ChatDelta(role="assistant", content="")
_NATIVE_OPENING = response_types.ChatDelta(role="assistant", content=None)
_NOTHING = response_types.ChatDelta()
_MARK = "\0"
"""A text that nothing else in a chunk contains: it marks the place of the text."""


class ChunkEncoder:
    """Events in, encoded chunks out: for each choice role (chats), content…, finish; at the end, usage."""

    def __init__(self, heading: Heading, options: AnswerOptions) -> None:
        self.choices = Choices(
            heading.kind,
            heading.n_choices,
            logprobs=options.logprobs,
            return_tokens=options.return_tokens,
            timings_per_token=options.timings_per_token,
        )
        self._heading = heading
        self._include_usage = options.include_usage
        self._encode = msgspec.json.Encoder().encode
        self._only_text = not (options.timings_per_token or options.return_tokens or options.logprobs)
        self._options = options
        self._around: dict[tuple[int, str, int], tuple[bytes, bytes]] = {}
        """The bytes before and after the text of each part of a choice, where nothing else differs."""

    def feed(self, event: Event) -> bytes:
        """Return the chunks that `event` makes, often one. Raises RequestFailed for a `Failure`."""
        if isinstance(event, PromptProgress):
            return self._progress(event)
        deltas = self.choices.feed(event)
        if self.choices.finish is not None:
            return self._last(deltas)
        if len(deltas) == 1 and deltas[0].text:
            (delta,) = deltas
            around = self._around.get((delta.index, delta.part, delta.call))
            if around is not None:
                return around[0] + self._encode(delta.text) + around[1]
        return b"".join(map(self._chunk_of, deltas))

    @property
    def usage(self) -> Usage | None:
        """The usage of the request, once it has ended."""
        return None if self.choices.finish is None else self.choices.finish.usage

    def end(self) -> bytes:
        """Return the last bytes of a stream that went well."""
        return sse.DONE

    def error(self, error: ApiError) -> bytes:
        """Return the last bytes of a stream that an error ends."""
        return sse.data(error.json())

    def keep_alive(self) -> bytes:
        """Return a comment, which clients skip."""
        return sse.COMMENT

    def _progress(self, event: PromptProgress) -> bytes:
        """Return the chunk that tells how far the prompt is computed; its choice opens with the first one."""
        opening = [self._choice(delta) for delta in self.choices.open_first()]
        nothing: response_types.Choice
        if self._heading.kind == "text":
            nothing = response_types.TextChoice(0, "")
        else:
            nothing = response_types.ChatChunkChoice(0, _NOTHING)
        body = self._heading.body(
            opening or [nothing],
            streamed=True,
            usage=None if self._include_usage else UNSET,
            timings=response_types.timings_in_prompt(event) if self._options.timings_per_token else UNSET,
        )
        told = msgspec.structs.replace(body, prompt_progress=response_types.progress_of(event))
        return sse.data(self._encode(told))

    def _chunk_of(self, delta: ChoiceDelta) -> bytes:
        is_twice = delta.part == "thoughts" and self._options.reasoning_field
        if delta.opens and self._heading.is_native:  # as llama-server's, without timings
            usage = None if self._include_usage else UNSET
            opening = self._heading.body([self._choice(delta)], streamed=True, usage=usage)
            return sse.data(self._encode(opening))
        if not delta.text or not self._only_text or is_twice:
            return self._chunk([self._choice(delta)])
        marked = self._chunk([self._choice(ChoiceDelta(delta.index, _MARK, delta.part, delta.call))])
        before, mark, after = marked.rpartition(self._encode(_MARK))
        if not mark:
            return marked  # a chunk that leaves the text out
        self._around[delta.index, delta.part, delta.call] = before, after
        return before + self._encode(delta.text) + after

    def _choice(self, delta: ChoiceDelta) -> response_types.Choice:
        if self._heading.kind == "text":
            assert not isinstance(delta.logprobs, response_types.ChatLogprobs)
            return response_types.TextChoice(
                delta.index,
                delta.text,
                delta.finish_reason,
                stop_reason=response_types.stop_reason(is_loop=delta.is_loop),
                logprobs=delta.logprobs,
                tokens=delta.tokens,
            )
        assert not isinstance(delta.logprobs, response_types.TextLogprobs)
        if delta.opens:
            part = _NATIVE_OPENING if self._heading.is_native else _OPENING
        elif delta.finish_reason is not None:
            part = _NOTHING
        elif delta.part == "content":
            part = response_types.ChatDelta(content=delta.text)
        elif delta.part == "thoughts":
            part = answer_parts.thoughts_delta(delta.text, self._options)
        else:
            part = answer_parts.call_delta(delta, self._options)
        reason = answer_parts.finish_reason(delta.finish_reason, self._options)
        return response_types.ChatChunkChoice(
            delta.index,
            part,
            reason,
            stop_reason=response_types.stop_reason(is_loop=delta.is_loop),
            logprobs=delta.logprobs,
            tokens=delta.tokens,
        )

    def _last(self, deltas: list[ChoiceDelta]) -> bytes:
        """The end of the last choice with the timings; the usage, if it is wanted, in a chunk of its own."""
        finish = self.choices.finish
        assert finish is not None
        ends = [self._choice(delta) for delta in deltas]
        timings = response_types.timings_of(finish.timings, finish.usage.cached_tokens)
        if not self._include_usage:
            return self._chunk(ends, timings=timings)
        usage = response_types.usage_of(finish.usage)
        return self._chunk(ends) + self._chunk([], usage=usage, timings=timings)

    def _chunk(
        self,
        choices: list[response_types.Choice],
        usage: response_types.Usage | UnsetType | None = UNSET,
        timings: response_types.Timings | UnsetType = UNSET,
    ) -> bytes:
        if self._include_usage and usage is UNSET:
            usage = None
        if timings is UNSET:
            timings = self.choices.timings_so_far()
        return sse.data(
            self._encode(self._heading.body(choices, streamed=True, usage=usage, timings=timings))
        )
