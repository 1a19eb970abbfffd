from __future__ import annotations

import json
import random
from typing import Any

import pytest

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started, Timings, Usage
from server.openai.errors import RequestFailed
from server.pages.answer import PageAnswer
from server.pages.records import Content, Message


def answer() -> PageAnswer:
    message = Message(
        id="m", parent="p", role="assistant", state="running", created=0.0, content=Content(model="demo")
    )
    return PageAnswer(message, lambda: None)


def delta(text: str) -> Delta:
    return Delta(id="r", index=0, text=text)


EVENTS: list[Event] = [
    Started(id="r", prompt_tokens=9, cached_tokens=4),
    ThoughtDelta(id="r", index=0, text="Let "),
    ThoughtDelta(id="r", index=0, text="me see"),
    delta("An "),
    delta("answer"),
    CallBegin(id="r", index=0, text="", call=0, call_id="c1", name="f"),
    CallDelta(id="r", index=0, text='{"x": ', call=0),
    CallDelta(id="r", index=0, text="1}", call=0),
    CallEnd(id="r", index=0, text="", call=0),
    CallBegin(id="r", index=0, text="", call=1, call_id="c2", name="g"),
    CallEnd(id="r", index=0, text="", call=1),
    ChoiceEnd(id="r", index=0, finish_reason="tool_calls"),
    Finish(
        id="r",
        usage=Usage(prompt_tokens=9, completion_tokens=20, cached_tokens=4),
        timings=Timings(queue_ms=0, prompt_n=5, prompt_ms=1, predicted_n=20, predicted_ms=400),
    ),
]


def parsed(body: bytes) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        number, data = block.split("\n")
        found.append((int(number.removeprefix("id: ")), json.loads(data.removeprefix("data: "))))
    return found


def replayed(events: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """What a page makes of the events."""
    made: dict[str, Any] = {"text": "", "thoughts": "", "calls": []}
    for _, event in events:
        match event["type"]:
            case "text" | "thoughts" as kind:
                made[kind] += event["text"]
            case "call":
                made["calls"].append({**event["data"], "arguments": ""})
            case "arguments":
                made["calls"][event["call"]]["arguments"] += event["text"]
            case "end":
                made["end"] = event["data"]
    return made


def test_the_message_has_all_parts() -> None:
    made = answer()
    for event in EVENTS:
        made.on_event(event)
    made.end("complete")
    content = made.message.content
    assert (content.text, content.thoughts, content.finish_reason) == (
        "An answer",
        "Let me see",
        "tool_calls",
    )
    assert [(call.id, call.name, call.arguments) for call in content.calls] == [
        ("c1", "f", '{"x": 1}'),
        ("c2", "g", "{}"),
    ]
    assert (content.prompt_tokens, content.cached_tokens, content.completion_tokens) == (9, 4, 20)
    assert content.tokens_per_second == 50


def test_whoever_reads_in_whatever_pieces_gets_the_same() -> None:
    rng = random.Random(7)
    for _ in range(50):
        made = answer()
        read: list[tuple[int, dict[str, Any]]] = []
        place = 0
        for event in EVENTS:
            made.on_event(event)
            if rng.random() < 0.4:  # also after a reload, by the number of the last event
                body, place = made.events(place)
                read += parsed(body)
                assert not read or read[-1][0] == place
        made.end("complete")
        body, place = made.events(place)
        read += parsed(body)
        found = replayed(read)
        assert (found["text"], found["thoughts"]) == ("An answer", "Let me see")
        assert [call["arguments"] for call in found["calls"]] == ['{"x": 1}', "{}"]
        assert found["end"]["content"]["text"] == "An answer"
        assert [number for number, _ in read] == sorted({number for number, _ in read})
        assert made.events(place) == (b"", place)


def test_neighbours_travel_as_one() -> None:
    made = answer()
    for number in range(1000):
        made.on_event(delta(f"{number} "))
    body, place = made.events(0)
    assert (len(parsed(body)), place) == (1, 1000)
    assert [event["text"] for _, event in parsed(made.events(998)[0])] == ["998 999 "]


def test_what_is_said_so_far_can_be_read_at_any_time() -> None:
    made = answer()
    made.on_event(EVENTS[1])
    made.on_event(delta("so far"))
    assert made.fill().content.text == "so far"
    made.on_event(delta(" and on"))
    assert made.fill().content.text == "so far and on"


def test_a_failure_ends_the_request() -> None:
    with pytest.raises(RequestFailed, match="broken"):
        answer().on_event(Failure(id="r", kind="server_error", message="broken"))
