from __future__ import annotations

import pytest

from server.engine.events import ChoiceEnd, Delta, Event, PromptScored, TokenLogprob
from server.ipc.messages import (
    AdapterReply,
    ApplyTemplateReply,
    DetokenizeReply,
    Reply,
    StepEvents,
    TokenizeReply,
)
from server.ipc.parts import PART_CHARS, PART_TOKENS, PART_WEIGHT, joined, parts_of, weight_of

TOKENS = list(range(2 * PART_TOKENS + 5))
SCORE = TokenLogprob(5, b"a", -1.0, tuple((i, b"b", -2.0) for i in range(20)))


@pytest.mark.parametrize(
    ("reply", "n_parts"),
    [
        (TokenizeReply("t", TOKENS), 3),
        (TokenizeReply("t", TOKENS, [b"x"] * len(TOKENS)), 3),
        (TokenizeReply("t", TOKENS[:PART_TOKENS]), 1),
        (TokenizeReply("t", []), 1),
        (DetokenizeReply("d", "é" * (PART_CHARS + 1)), 2),
        (DetokenizeReply("d", ""), 1),
        (ApplyTemplateReply("a", "ab" * PART_CHARS), 2),
        (AdapterReply("a"), 1),
    ],
)
def test_a_long_reply_is_the_sum_of_its_parts(reply: Reply, n_parts: int) -> None:
    parts = parts_of(reply)
    assert [getattr(part, "more", False) for part in parts] == [True] * (n_parts - 1) + [False]
    assert joined(parts) == reply


def test_the_events_of_a_usual_step_are_one_message() -> None:
    step = StepEvents([Delta(id="x", index=i, text="word") for i in range(256)])
    assert parts_of(step) == (step,)


def test_many_events_travel_in_order() -> None:
    events: list[Event] = [Delta(id="x", index=i, text="a", logprobs=(SCORE,)) for i in range(500)]
    parts = parts_of(StepEvents([*events, ChoiceEnd(id="x", index=0, finish_reason="stop")]))
    assert len(parts) > 2
    for part in parts:
        assert isinstance(part, StepEvents)
        assert sum(map(weight_of, part.events)) <= PART_WEIGHT
    sent = [event for part in parts if isinstance(part, StepEvents) for event in part.events]
    assert sent == [*events, ChoiceEnd(id="x", index=0, finish_reason="stop")]


def test_long_texts_travel_apart() -> None:
    echo = [Delta(id="x", index=i, text="a" * 300_000, n_tokens=0) for i in range(3)]
    assert parts_of(StepEvents([*echo])) == [StepEvents([event]) for event in echo]


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_the_scores_of_a_long_prompt_come_in_several_events(n: int) -> None:
    scores = tuple(SCORE for _ in range(n))
    parts = parts_of(StepEvents([PromptScored(id="x", logprobs=scores)]))
    events = [event for part in parts if isinstance(part, StepEvents) for event in part.events]
    assert all(isinstance(event, PromptScored) and weight_of(event) <= PART_WEIGHT for event in events)
    told = [event for event in events if isinstance(event, PromptScored)]
    assert [event.more for event in told] == [True] * (len(told) - 1) + [False]
    assert tuple(score for event in told for score in event.logprobs) == scores
    assert (len(told) > 1) == (n == 1000)
