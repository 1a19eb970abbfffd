from __future__ import annotations

import pytest

from server.engine.events import Delta, Event, Failure, Finish, Started, Timings, TokenLogprob, Usage
from server.ipc.frames import HEADER, decode_reply, encode_frame
from server.ipc.messages import Reply, StepEvents, TokenizeReply
from server.ipc.step_frames import delta_ids, split_step
from tests.server.supervisor.scripted_worker import stats_reply

TOP = ((1, b"\xff", -0.5), (2, b"b", -1.5))
DELTAS: list[Event] = [
    Delta(id="a", index=0, text="x", tokens=(1,)),
    Delta(id="b", index=1, text="é" * 200, n_tokens=2, tokens=(70_000, 2)),
    Delta(id="a" * 40, index=0, text="", n_tokens=0, is_prompt=True),
    Delta(id="a", index=0, text="y", logprobs=(TokenLogprob(1, b"\x00", None, TOP),)),
]
USAGE = Usage(prompt_tokens=1, completion_tokens=1)
TIMINGS = Timings(queue_ms=0.0, prompt_n=1, prompt_ms=1.0, predicted_n=1, predicted_ms=1.0)
OTHERS: list[Event] = [
    Started(id="a", prompt_tokens=1, cached_tokens=0),
    Finish(id="a", usage=USAGE, timings=TIMINGS),
    Failure(id="a", kind="busy", message="m"),
]


def payload_of(message: Reply) -> bytes:
    return encode_frame(message)[HEADER.size :]


def test_a_step_of_deltas_tells_whose_they_are() -> None:
    assert delta_ids(payload_of(StepEvents(DELTAS))) == ["a", "b", "a" * 40, "a"]
    many: list[Event] = [Delta(id=str(n), index=0, text="x") for n in range(70_000)]
    assert delta_ids(payload_of(StepEvents(many))) == [str(n) for n in range(70_000)]


@pytest.mark.parametrize("other", OTHERS, ids=lambda event: type(event).__name__)
def test_a_step_with_any_other_event_tells_nothing(other: Event) -> None:
    for place in range(len(DELTAS) + 1):
        assert delta_ids(payload_of(StepEvents([*DELTAS[:place], other, *DELTAS[place:]]))) == []


@pytest.mark.parametrize(
    "payload",
    [
        payload_of(StepEvents([])),
        payload_of(stats_reply("a", 1)),
        payload_of(TokenizeReply("step", [1, 2])),
        payload_of(StepEvents(DELTAS))[:-1],
        b"",
        b"\x92\xa4step\x01",
    ],
)
def test_any_other_payload_tells_nothing(payload: bytes) -> None:
    assert delta_ids(payload) == []


def test_a_part_for_each_owner_has_its_events_in_order() -> None:
    parts = split_step(payload_of(StepEvents(DELTAS)), ["one", "two", "two", "one"])
    assert list(parts) == ["one", "two"]
    assert decode_reply(parts["one"]) == StepEvents([DELTAS[0], DELTAS[3]])
    assert decode_reply(parts["two"]) == StepEvents(DELTAS[1:3])
    assert parts["two"] == payload_of(StepEvents(DELTAS[1:3]))
