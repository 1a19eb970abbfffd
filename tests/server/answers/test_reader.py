"""`AnswerReader` between real events and a listener."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import msgspec
import pytest

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.answers.reader import AnswerReader
from server.chat.tool_formats.registry import tool_formats
from server.chat.tool_formats.tool_format import WithOpenings
from server.engine.events import (
    AnswerForm,
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    FinishReason,
    PromptPart,
    Started,
    Timings,
    TokenLogprob,
    Usage,
)
from tests.server.chat.tool_formats.sample import TOOLS, Call

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
HERMES = AnswerForm(tool_format="hermes", thoughts=("<think>", "</think>"))
THOUGHTS = AnswerForm(thoughts=("<think>", "</think>"), thinks=True)


class Listener:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    async def drained(self) -> None:
        """There is nothing to wait for."""


def deltas(text: str, index: int = 0, step: int = 1) -> list[Event]:
    pieces = [text[start : start + step] for start in range(0, len(text), step)]
    return [
        Delta(
            id="r",
            index=index,
            text=piece,
            tokens=(place,),
            logprobs=(TokenLogprob(place, piece.encode(), -1.0),),
        )
        for place, piece in enumerate(pieces)
    ]


def end(index: int = 0, reason: FinishReason = "stop") -> Event:
    return ChoiceEnd(id="r", index=index, finish_reason=reason)


def answered(form: AnswerForm | None, *events: Event) -> list[Event]:
    listener = Listener()
    reader = AnswerReader(listener, TOOLS)
    for event in (Started(id="r", prompt_tokens=3, cached_tokens=0, form=form), *events):
        reader.on_event(event)
    asyncio.run(reader.drained())
    assert isinstance(listener.events[0], Started)
    return listener.events[1:]


def text_of(events: list[Event], kind: type[Delta], index: int = 0) -> str:
    return "".join(event.text for event in events if type(event) is kind and event.index == index)


def test_events_of_plain_content_pass_as_they_are() -> None:
    given = [*deltas(CALL), end()]
    found = answered(None, *given)
    assert len(found) == len(given)
    assert all(one is other for one, other in zip(found, given, strict=True))


def test_thoughts_content_and_calls() -> None:
    found = answered(HERMES, *deltas(f"<think>\nWell.\n</think>\n\nI look.\n{CALL}\n{CALL}"), end())
    assert text_of(found, ThoughtDelta) == "Well."
    assert text_of(found, Delta) == "I look."
    begun = [event for event in found if isinstance(event, CallBegin)]
    assert [(event.call, event.name) for event in begun] == [(0, "get_weather"), (1, "get_weather")]
    assert len({event.call_id for event in begun}) == 2
    arguments = [event for event in found if isinstance(event, CallDelta)]
    assert "".join(event.text for event in arguments if event.call == 1) == '{"city": "Paris"}'
    assert [event.call for event in found if isinstance(event, CallEnd)] == [0, 1]
    assert found[-1] == end(reason="tool_calls")


def test_every_token_and_logprob_is_handed_on_once_in_order() -> None:
    given = deltas(f"<think>a</think>I look.  {CALL} <tool_", step=3)
    found = [event for event in answered(HERMES, *given, end()) if isinstance(event, Delta)]
    assert [token for event in found for token in event.tokens] == list(range(len(given)))
    assert sum(event.n_tokens for event in found) == len(given)
    assert [one.token for event in found for one in event.logprobs] == list(range(len(given)))


def test_choices_are_read_apart() -> None:
    mixed = [
        event for pair in zip(deltas(CALL), deltas("x" * len(CALL), index=1), strict=True) for event in pair
    ]
    found = answered(HERMES, *mixed, end(0), end(1))
    assert text_of(found, Delta, 1) == "x" * len(CALL)
    assert text_of(found, Delta, 0) == ""
    assert found[-2:] == [end(0, "tool_calls"), end(1)]


def test_a_call_that_the_limit_cut_has_no_end() -> None:
    found = answered(HERMES, *deltas(CALL[:50]), end(reason="length"))
    assert any(isinstance(event, CallBegin) for event in found)
    assert not any(isinstance(event, CallEnd) for event in found)
    assert found[-1] == end(reason="length")


@pytest.mark.parametrize("tail", ["<tool_", "<tool_call>", '<tool_call>\n{"', '<tool_call>\n{"name": "get_w'])
def test_a_call_that_the_limit_cut_before_its_name_is_no_content(tail: str) -> None:
    for before in ("", CALL + "\n"):
        found = answered(HERMES, *deltas(before + tail), end(reason="length"))
        assert text_of(found, Delta).strip() == "", before
        assert found[-1] == end(reason="length")
        n_tokens = sum(event.n_tokens for event in found if isinstance(event, Delta))
        assert n_tokens == len(before + tail), "its tokens count"


@pytest.mark.parametrize("tail", ["</", "</tool_cal"])
def test_a_closing_mark_that_the_limit_cut_is_no_content(tail: str) -> None:
    found = answered(HERMES, *deltas(CALL.partition("</")[0] + tail), end(reason="length"))
    assert text_of(found, Delta) == ""


def test_an_unmarked_call_that_the_limit_cut_is_no_content_where_calls_are_required() -> None:
    cut = deltas('{"name": "get_w')
    required = msgspec.structs.replace(HERMES, calls_only=True)
    assert text_of(answered(required, *cut, end(reason="length")), Delta) == ""
    assert text_of(answered(HERMES, *cut, end(reason="length")), Delta) == '{"name": "get_w'


def test_text_that_is_held_back_comes_before_the_end() -> None:
    found = answered(HERMES, *deltas("a <tool_c"), end())
    assert text_of(found, Delta) == "a <tool_c"
    assert found[-1] == end()


def test_thoughts_of_a_model_without_tools() -> None:
    found = answered(THOUGHTS, *deltas("Well.</think>\n\nYes."), end())
    assert text_of(found, ThoughtDelta) == "Well."
    assert text_of(found, Delta) == "Yes."


def test_an_echoed_prompt_and_other_events_pass() -> None:
    echo = Delta(id="r", index=0, text="<think>echo", n_tokens=0, is_prompt=True)
    part = PromptPart(id="r", index=0, text="", n_tokens=0, is_prompt=True)
    times = Timings(queue_ms=0, prompt_n=1, prompt_ms=1, predicted_n=1, predicted_ms=1)
    finish = Finish(id="r", usage=Usage(prompt_tokens=3, completion_tokens=1), timings=times)
    assert answered(HERMES, part, echo, finish) == [part, echo, finish]


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize(
    ("form", "text", "content", "thoughts"),
    [
        (HERMES, "Yes.\n<tool_call", "Yes.\n", ""),
        (HERMES, "Yes <t", "Yes ", ""),
        (HERMES, "a <", "a <", ""),  # one letter may be anything
        (HERMES, "<thi", "", ""),
        (HERMES, "<think>Hm.\n</thin", "", "Hm."),
        (HERMES, "<think>Hm.</think>Yes<tool", "Yes", "Hm."),
        (THOUGHTS, "Hm.\n\n</", "", "Hm."),
        (HERMES, "a <b", "a <b", ""),
        (HERMES, "a <tool_cart", "a <tool_cart", ""),
    ],
)
def test_a_mark_that_the_limit_cut_is_no_text(
    form: AnswerForm, text: str, content: str, thoughts: str, step: int
) -> None:
    cut = answered(form, *deltas(text, step=step), end(reason="length"))
    assert (text_of(cut, Delta).rstrip(), text_of(cut, ThoughtDelta)) == (content.rstrip(), thoughts)
    whole = answered(form, *deltas(text, step=step), end())
    last = text_of(whole, Delta) or text_of(whole, ThoughtDelta)
    assert last.endswith(text[-2:].lstrip())


def test_what_came_with_a_cut_mark_is_handed_on() -> None:
    events = answered(HERMES, *deltas("Hi<tool_call"), end(reason="length"))
    assert sum(e.n_tokens for e in events if isinstance(e, Delta)) == len("Hi<tool_call")
    assert isinstance(events[-1], ChoiceEnd)


UNMARKED = {"functionary_v3_2", "llama3", "muse"}
"""Their answers may begin with a call without a mark, which might be text until its name is whole."""


@pytest.mark.parametrize("name", sorted(set(tool_formats()) - UNMARKED))
def test_every_format_drops_a_call_that_is_cut_before_its_name(name: str) -> None:
    module: Any = importlib.import_module(f"tests.server.chat.tool_formats.samples.{name}")
    calls = [Call("get_weather", {"city": "Paris"})]
    raw = next(s.raw for s in module.SAMPLES if not s.content and not s.marks and list(s.calls) == calls)
    for n_letters in range(2, raw.index("get_weather") + 5):
        events = answered(AnswerForm(tool_format=name), *deltas(raw[:n_letters]), end(reason="length"))
        assert text_of(events, Delta).strip() == "", raw[:n_letters]


@pytest.mark.parametrize("name", sorted(name for name, known in tool_formats().items() if known.marks))
def test_every_format_drops_the_mark_that_is_cut(name: str) -> None:
    known = tool_formats()[name]
    opening = known.openings[0] if isinstance(known, WithOpenings) else known.marks[0]
    form = AnswerForm(tool_format=name, thoughts=("<think>", "</think>"))
    for n_letters in range(2, len(opening)):
        events = answered(form, *deltas(opening[:n_letters]), end(reason="length"))
        assert text_of(events, Delta).strip() == "", opening[:n_letters]
