"""`WholeAnswer`: one whole answer, the fold of its choice deltas. Pure."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from server.engine.events import Event
from server.openai import response_types
from server.openai.choices import ChoiceDelta, Choices
from server.openai.heading import Heading
from server.openai.logprobs import joined_chat, joined_text
from server.openai.requests.answer_options import AnswerOptions


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
        self._parts: list[list[ChoiceDelta]] = [[] for _ in range(heading.n_choices)]

    def on_event(self, event: Event) -> None:
        """Raises RequestFailed for a `Failure`."""
        for delta in self.choices.feed(event):
            self._parts[delta.index].append(delta)

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def json(self) -> bytes:
        """Return the answer. Only after `Finish`."""
        finish = self.choices.finish
        assert finish is not None
        choices = [self._choice(index, parts) for index, parts in enumerate(self._answered())]
        body = self._heading.body(
            choices,
            streamed=False,
            usage=response_types.usage_of(finish.usage),
            timings=response_types.timings_of(finish.timings, finish.usage.cached_tokens),
        )
        return msgspec.json.encode(body)

    def _answered(self) -> list[list[ChoiceDelta]]:
        if self._options.candidates is None:
            return self._parts
        best_of, n = self._options.candidates
        starts = range(0, len(self._parts), best_of)
        of_prompts = (self._parts[start : start + best_of] for start in starts)
        return [parts for candidates in of_prompts for parts in sorted(candidates, key=unlikeliness)[:n]]

    def _choice(self, index: int, parts: list[ChoiceDelta]) -> response_types.Choice:
        text = "".join([part.text for part in parts])
        reasons = [part.finish_reason for part in parts if part.finish_reason is not None]
        reason = reasons[-1] if reasons else "stop"
        tokens = tuple(token for part in parts if part.tokens is not UNSET for token in part.tokens)
        returned = tokens if self._options.return_tokens else UNSET
        if self._heading.kind == "text":
            placed = [
                part.logprobs for part in parts if isinstance(part.logprobs, response_types.TextLogprobs)
            ]
            logprobs = joined_text(placed) if self._options.logprobs else None
            return response_types.TextChoice(index, text, reason, logprobs, returned)
        listed = [part.logprobs for part in parts if isinstance(part.logprobs, response_types.ChatLogprobs)]
        whole = joined_chat(listed) if self._options.logprobs else None
        return response_types.ChatChoice(index, response_types.ChatMessage(text), reason, whole, returned)


def unlikeliness(parts: list[ChoiceDelta]) -> float:
    """Return minus the mean logprob of a choice's generated tokens; infinite without any."""
    n_scored = sum([part.n_scored for part in parts])
    return -sum([part.logprob_sum for part in parts]) / n_scored if n_scored else float("inf")
