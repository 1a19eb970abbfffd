"""Joining changes how many messages there are, never what they say or in which order."""

from __future__ import annotations

import socket

import pytest

from server.engine.events import ChoiceEnd, Delta, Event
from server.ipc.frames import HEADER, decode_reply, frame_length
from server.ipc.messages import StepEvents
from server.worker.channel import Channel
from server.worker.outbox import MERGE_S, Outbox, merged


def delta(text: str, request: str = "a", index: int = 0) -> Delta:
    return Delta(id=request, index=index, text=text, n_tokens=1, tokens=(len(text),))


def test_text_of_a_choice_is_joined_and_others_stay_apart() -> None:
    events: list[Event] = [delta("x"), delta("1", index=1), delta("y"), delta("z", "b")]
    first, second, third = merged(events)
    assert first == Delta(id="a", index=0, text="xy", n_tokens=2, tokens=(1, 1))
    assert (second, third) == (delta("1", index=1), delta("z", "b"))


def test_an_end_stays_after_the_text_before_it() -> None:
    end = ChoiceEnd(id="a", index=0, finish_reason="stop")
    events: list[Event] = [delta("x"), delta("y"), end, delta("z", index=1)]
    assert [getattr(e, "text", "end") for e in merged(events)] == ["xy", "end", "z"]


@pytest.fixture
def pair() -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    return Channel(ours), theirs


def received(theirs: socket.socket) -> list[list[str]]:
    """The texts of each message that has come."""
    theirs.setblocking(False)
    data, messages = b"", []
    try:
        while chunk := theirs.recv(65536):
            data += chunk
    except BlockingIOError:
        pass
    while data:
        length = frame_length(data[: HEADER.size])
        reply = decode_reply(data[HEADER.size : HEADER.size + length])
        assert isinstance(reply, StepEvents)
        messages.append([getattr(e, "text", "end") for e in reply.events])
        data = data[HEADER.size + length :]
    return messages


def test_quick_text_travels_together_and_the_end_goes_at_once(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    now = [100.0]
    outbox = Outbox(channel, lambda: now[0])
    for text in ("a", "b", "c"):
        outbox.send([delta(text)], quick=True)
        outbox.decoded()
        now[0] += MERGE_S / 10
    assert received(theirs) == [["a"]]
    now[0] += MERGE_S
    assert received(theirs) == []
    outbox.decoded()
    assert received(theirs) == [["bc"]]
    outbox.send([delta("d")])
    assert received(theirs) == [["d"]], "the next step isn't quick"
    outbox.send([delta("e")], quick=True)
    outbox.send([ChoiceEnd(id="a", index=0, finish_reason="stop")])
    assert received(theirs) == [["e", "end"]]
    outbox.flush()
    assert received(theirs) == []
    channel.close()
    theirs.close()
