"""`WholeAnswer`: one whole answer, the fold of its choice deltas. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from models.errors import RequestError
from server.engine.events import Event, RequestReading, Started
from server.llama_server.settings import sampling_settings
from server.openai import response_types
from server.openai.choices import Choices
from server.openai.heading import Heading
from server.openai.requests.answer_options import AnswerOptions
from server.openai.whole_choice import WholeChoice

MAX_ANSWER_BYTES = 256 << 20
"""A whole answer has at most about this many bytes: some four million logprobs. A stream has no limit."""
_CHOICES = b'"choices":['


class WholeAnswer:
    """An `EventListener`: events in; one encoded answer out, when `choices.finish` has come.

    With `candidates` the choices are ordered by the mean logprob of their tokens, the likeliest first, and
    those left out only count in the usage.
    """

    def __init__(self, heading: Heading, options: AnswerOptions) -> None:
        self.choices = Choices(
            heading.kind,
            heading.n_choices,
            logprobs=options.logprobs,
            return_tokens=options.return_tokens,
        )
        self._heading = heading
        self._options = options
        self._parts: dict[int, WholeChoice] = {}
        self._n_bytes = 0
        self._reading: RequestReading | None = None

    def on_event(self, event: Event) -> None:
        """Raises RequestFailed for a `Failure`, and RequestError when the answer gets too large."""
        if isinstance(event, Started) and event.reading is not None:
            self._reading = event.reading
        for delta in self.choices.feed(event):
            choice = self._choice(delta.index)
            before = choice.n_bytes
            choice.add(delta)
            self._n_bytes += choice.n_bytes - before
        if self._n_bytes > MAX_ANSWER_BYTES:
            raise RequestError(
                f"the answer has more than {MAX_ANSWER_BYTES:,} bytes; ask for fewer choices, tokens or "
                "logprobs, or for a stream",
                code="answer_too_large",
            )

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer's JSON. Only after `Finish`."""
        finish = self.choices.finish
        assert finish is not None
        body = self._heading.body(
            [],
            streamed=False,
            usage=response_types.usage_of(finish.usage),
            timings=response_types.timings_of(finish.timings, finish.usage.cached_tokens),
        )
        if self._reading is not None:
            told = {
                "prompt": self._reading.prompt,
                "generation_settings": sampling_settings(self._reading.params),
            }
            body = msgspec.structs.replace(body, verbose=told)
        before, between, after = msgspec.json.encode(body).partition(_CHOICES)
        yield before
        for index, choice in enumerate(self._answered()):
            yield between
            yield from choice.pieces(index)
            between = b","
        yield after

    def _answered(self) -> Iterator[WholeChoice]:
        n_choices = self._heading.n_choices
        if self._options.candidates is None:
            yield from map(self._choice, range(n_choices))
            return
        best_of, n = self._options.candidates
        for start in range(0, n_choices, best_of):
            candidates = map(self._choice, range(start, start + best_of))
            yield from sorted(candidates, key=lambda choice: choice.unlikeliness)[:n]

    def _choice(self, index: int) -> WholeChoice:
        choice = self._parts.get(index)
        if choice is None:
            choice = self._parts[index] = WholeChoice(self._heading.kind, self._options)
        return choice
