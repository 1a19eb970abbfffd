from __future__ import annotations

from typing import Any

import pytest

from server.answers.events import CallBegin, ThoughtDelta
from server.engine.events import AnswerForm, ChoiceEnd, Delta, Event, Started, TokenLogprob
from server.openai.requests.reasoning import ThoughtForm
from server.openai.steps.shown_thoughts import ShownThoughts
from tests.server.openai.answers import FINISH
from tests.server.openai.collect import Collector

STARTED = Started(id="x", prompt_tokens=1, cached_tokens=0, form=AnswerForm(thoughts=("[THINK]", "[/THINK]")))
SCORE = (TokenLogprob(5, b"h", -0.5),)


def thought(text: str, index: int = 0, **fields: Any) -> ThoughtDelta:
    return ThoughtDelta(id="x", index=index, text=text, **fields)


def content(text: str, index: int = 0, n_tokens: int = 1) -> Delta:
    return Delta(id="x", index=index, text=text, n_tokens=n_tokens)


def end(index: int = 0, reason: Any = "stop") -> ChoiceEnd:
    return ChoiceEnd(id="x", index=index, finish_reason=reason)


def shown(form: ThoughtForm, *events: Event) -> list[Event]:
    collector = Collector()
    step = ShownThoughts(collector, form)
    for event in events:
        step.on_event(event)
    return collector.events


def text_of(events: list[Event], index: int = 0) -> str:
    return "".join(event.text for event in events if type(event) is Delta and event.index == index)


@pytest.mark.parametrize(
    ("form", "text", "n_thoughts"),
    [
        ("content", "[THINK]\nhm\n[/THINK]\n\nyes", 0),
        ("both", "[THINK]\nhm\n[/THINK]\n\nyes", 2),
        ("hidden", "yes", 0),
    ],
)
def test_thoughts_in_the_content(form: ThoughtForm, text: str, n_thoughts: int) -> None:
    events = shown(form, STARTED, thought("h"), thought("m"), content("yes"), end(), FINISH)
    assert text_of(events) == text
    assert sum(isinstance(event, ThoughtDelta) for event in events) == n_thoughts
    assert sum(event.n_tokens for event in events if isinstance(event, Delta)) == 3
    assert events[-2:] == [end(), FINISH]


@pytest.mark.parametrize("form", ["content", "both", "hidden"])
def test_tokens_and_scores_are_told_once(form: ThoughtForm) -> None:
    events = shown(form, STARTED, thought("h", tokens=(5,), logprobs=SCORE), end())
    deltas = [event for event in events if isinstance(event, Delta)]
    assert [token for each in deltas for token in each.tokens] == [5]
    assert [score for each in deltas for score in each.logprobs] == list(SCORE)


def test_a_call_closes_thoughts_before_it_begins() -> None:
    call = CallBegin(id="x", index=0, text="", call=0, call_id="c", name="f")
    events = shown("content", STARTED, thought("h"), call, end(reason="tool_calls"))
    assert [type(event) for event in events] == [Started, Delta, Delta, CallBegin, ChoiceEnd]
    assert text_of(events) == "[THINK]\nh\n[/THINK]\n\n"


def test_an_end_within_thoughts() -> None:
    assert text_of(shown("content", STARTED, thought("h"), end())) == "[THINK]\nh\n[/THINK]"
    assert text_of(shown("content", STARTED, thought("h"), end(reason="length"))) == "[THINK]\nh"


def test_tokens_without_text_close_nothing() -> None:
    events = shown("content", STARTED, thought("h"), content(""), thought("m"), content("yes"))
    assert text_of(events) == "[THINK]\nhm\n[/THINK]\n\nyes"


def test_choices_are_told_apart() -> None:
    events = shown("content", STARTED, thought("h"), content("a", 1), thought("i", 1), content("b"))
    assert text_of(events) == "[THINK]\nh\n[/THINK]\n\nb"
    assert text_of(events, 1) == "a[THINK]\ni"


def test_formats_with_marks_of_their_own_get_the_usual_ones() -> None:
    started = Started(id="x", prompt_tokens=1, cached_tokens=0, form=AnswerForm(tool_format="hermes"))
    assert text_of(shown("content", started, thought("h"), content("a"))) == "<think>\nh\n</think>\n\na"
