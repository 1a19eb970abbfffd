"""`parts_of`: a long reply as several that are short, and `joined`, the way back.

The API process takes a reply in one turn of its event loop, in which nobody else is served. So no frame holds
more elements than take a few milliseconds, and what a client gets is made of the parts as they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import msgspec

from server.engine.events import Delta, Event, PromptScored, TokenLogprob, Vectors
from server.ipc.messages import ApplyTemplateReply, DetokenizeReply, Reply, StepEvents, TokenizeReply

MAX_ANSWER_TOKENS = 2_000_000
"""A text of more tokens isn't told its tokens."""
MAX_ANSWER_CHARS = 8 << 20
"""Tokens of more text aren't told their text."""
PART_TOKENS = 4_096
"""A part of a `TokenizeReply` has at most this many tokens."""
PART_CHARS = 128 << 10
"""A part of a reply that is a text has at most this many characters."""
PART_WEIGHT = 4_096
"""The events of one part weigh at most this much, or there is only one: see `weight_of`."""
_CHARS_PER_WEIGHT = 64
_BYTES_PER_WEIGHT = 512
"""Vectors are copied, not looked into, until the answer is sent."""

R = TypeVar("R", bound=Reply)
_LONG_FIELDS: dict[type[Any], tuple[str, ...]] = {
    TokenizeReply: ("tokens", "pieces"),
    DetokenizeReply: ("text",),
    ApplyTemplateReply: ("prompt",),
}
"""The fields of which each part of a reply holds a part."""


def parts_of(reply: Reply) -> Sequence[Reply]:
    """Return the reply in parts, all but the last with `more`; nearly always it is one."""
    match reply:
        case StepEvents(events=events):
            return _steps(reply, events)
        case TokenizeReply() if len(reply.tokens) > PART_TOKENS:
            return list(_token_parts(reply))
        case DetokenizeReply() if len(reply.text) > PART_CHARS:
            texts = _sliced(reply.text)
            return [DetokenizeReply(reply.id, text, more=more) for text, more in texts]
        case ApplyTemplateReply() if len(reply.prompt) > PART_CHARS:
            texts = _sliced(reply.prompt)
            return [ApplyTemplateReply(reply.id, text, more=more) for text, more in texts]
    return (reply,)


def joined(parts: Sequence[R]) -> R:
    """Return the reply that `parts_of` has cut."""
    last = parts[-1]
    if len(parts) == 1:
        return last
    fields = _LONG_FIELDS[type(last)]
    whole = {name: _concatenated([getattr(part, name) for part in parts]) for name in fields}
    return msgspec.structs.replace(last, **whole)


def _concatenated(values: list[Any]) -> Any:
    """Return the texts or lists as one; None, which all of them are then, for a field that wasn't wanted."""
    if values[-1] is None:
        return None
    return "".join(values) if isinstance(values[-1], str) else [*chain.from_iterable(values)]


def _token_parts(reply: TokenizeReply) -> Iterator[TokenizeReply]:
    n = len(reply.tokens)
    for start in range(0, n, PART_TOKENS):
        end = start + PART_TOKENS
        pieces = None if reply.pieces is None else reply.pieces[start:end]
        yield TokenizeReply(reply.id, reply.tokens[start:end], pieces, more=end < n)


def _sliced(text: str) -> Iterator[tuple[str, bool]]:
    for start in range(0, len(text), PART_CHARS):
        end = start + PART_CHARS
        yield text[start:end], end < len(text)


# --- events -------------------------------------------------------------------------------------------------


def _steps(whole: StepEvents, events: Sequence[Event]) -> Sequence[StepEvents]:
    weights = [weight_of(event) for event in events]
    if sum(weights) <= PART_WEIGHT:
        return (whole,)
    parts: list[StepEvents] = []
    taken: list[Event] = []
    room = PART_WEIGHT
    for event in events:
        for piece in _pieces(event):
            weight = weight_of(piece)
            if taken and weight > room:
                parts.append(StepEvents(taken))
                taken, room = [], PART_WEIGHT
            taken.append(piece)
            room -= weight
    return [*parts, StepEvents(taken)]


def weight_of(event: Event) -> int:
    """Return about how many values the API process makes of an event."""
    if isinstance(event, Delta):
        return 1 + len(event.text) // _CHARS_PER_WEIGHT + _n_scores(event.logprobs)
    if isinstance(event, PromptScored):
        return _n_scores(event.logprobs)
    if isinstance(event, Vectors):
        return 1 + len(event.data) // _BYTES_PER_WEIGHT
    return 1


def _n_scores(logprobs: Sequence[TokenLogprob]) -> int:
    return len(logprobs) * (1 + len(logprobs[-1].top)) if logprobs else 0


def _pieces(event: Event) -> Iterator[Event]:
    """Yield the scores of a long prompt and many vectors in parts; any other event is one."""
    if isinstance(event, Vectors) and weight_of(event) > PART_WEIGHT:
        yield from _vector_parts(event)
        return
    if not isinstance(event, PromptScored) or weight_of(event) <= PART_WEIGHT:
        yield event
        return
    scores = event.logprobs
    n_per_part = max(1, PART_WEIGHT // (1 + len(scores[-1].top)))
    for start in range(0, len(scores), n_per_part):
        end = start + n_per_part
        yield PromptScored(id=event.id, logprobs=scores[start:end], more=event.more or end < len(scores))


def _vector_parts(event: Vectors) -> Iterator[Vectors]:
    """Yield the rows in parts, a few of one text or several texts' in each."""
    row_bytes = 4 * event.width
    most = max(1, PART_WEIGHT * _BYTES_PER_WEIGHT // row_bytes)
    places = [place for place, n in zip(event.indices, event.n_rows, strict=True) for _ in range(n)]
    for start in range(0, len(places), most):
        counts: dict[int, int] = {}
        for place in places[start : start + most]:
            counts[place] = counts.get(place, 0) + 1
        yield msgspec.structs.replace(
            event,
            indices=tuple(counts),
            n_rows=tuple(counts.values()),
            data=event.data[start * row_bytes : (start + most) * row_bytes],
        )
