"""Whatever one end writes the other one reads, and nothing else."""

from __future__ import annotations

from typing import get_args

import pytest

from server.cluster.link.link_messages import (
    Answer,
    Ask,
    Beat,
    Begin,
    Declined,
    FromReplica,
    Hello,
    Refused,
    ToReplica,
    Waiting,
    decode_from_replica,
    decode_to_replica,
    link_frame,
)
from server.cluster.link.refusals import Refusal
from server.engine.events import Delta, Failure
from server.engine.sampling_params import SamplingParams
from server.ipc import frames
from server.ipc.frames import HEADER, FrameError
from server.ipc.messages import Cancel, Generate, Pool, Stats, StepEvents, Tokenize, TokenizeReply
from server.ipc.prompts import PooledInputs, TextPrompt
from server.supervisor.protocol import ModelStatus

GENERATE = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams(temperature=0.5))
UP: list[FromReplica] = [
    Hello(
        replica="a",
        deployment="d",
        version="1",
        statuses=[ModelStatus(name="one", state="ready", created=1)],
        max_ongoing=6,
    ),
    Beat(3, is_ready=False, is_draining=True),
    StepEvents([Delta(id="r", index=0, text="a"), Failure(id="x", kind="cancelled", message="m")]),
    Declined("r"),
    Refused("r", Refusal("WorkerBusy", "full", {"retry_after_s": 1.0})),
    Answer("1", TokenizeReply("1", [1, 2])),
    Answer("2", Refusal("RequestError", "no")),
]
DOWN: list[ToReplica] = [
    Begin("", GENERATE),
    Begin("other", Pool(id="p", inputs=PooledInputs(("a",)))),
    Ask("1", "", Tokenize(text="x")),
    Ask("2", "", Stats()),
    Cancel("r"),
    Waiting(1.5),
]


def test_each_message_arrives_as_it_was() -> None:
    for up in UP:
        assert decode_from_replica(link_frame(up)[HEADER.size :]) == up
    for down in DOWN:
        assert decode_to_replica(link_frame(down)[HEADER.size :]) == down
    assert {type(message) for message in UP} == set(get_args(FromReplica))
    assert {type(message) for message in DOWN} == set(get_args(ToReplica))


def test_nonsense() -> None:
    for payload in (b"", b"\x00", b"nonsense", link_frame(DOWN[0])[HEADER.size :]):
        with pytest.raises(FrameError, match="one version"):
            decode_from_replica(payload)
    for payload in (b"", b"\x00", b"nonsense", link_frame(UP[1])[HEADER.size :]):
        with pytest.raises(FrameError, match="one version"):
            decode_to_replica(payload)


def test_a_message_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 10)
    with pytest.raises(FrameError):
        link_frame(DOWN[0])
