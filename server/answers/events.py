"""The parts of an answer, as events: what protocols make their answers of.

`AnswerReader` makes them of the engine's events, one `Delta` into any number of these. A `Delta` that comes
out of it is content, and a `ChoiceEnd` for the reason `tool_calls` ends a choice with calls. All are deltas:
tokens, logprobs and counts of the engine's `Delta` are with the first part that comes of it, which may have
no text.
"""

from __future__ import annotations

from server.engine.events import Delta


class ThoughtDelta(Delta, frozen=True, tag="thought_delta", kw_only=True, array_like=True, gc=False):
    """New text of the answer's thoughts, without the marks around them."""


class CallBegin(Delta, frozen=True, tag="call_begin", kw_only=True, array_like=True, gc=False):
    """A tool call begins; `text` is empty. Calls of a choice count from 0; none begins within another."""

    call: int
    call_id: str
    """The id of the call, unique among all answers, also after a restart."""
    name: str


class CallDelta(Delta, frozen=True, tag="call_delta", kw_only=True, array_like=True, gc=False):
    """New text of a call's arguments: all texts of a call together are one JSON object."""

    call: int


class CallEnd(Delta, frozen=True, tag="call_end", kw_only=True, array_like=True, gc=False):
    """A tool call is complete; `text` is empty. A call that the token limit cut has no end."""

    call: int
