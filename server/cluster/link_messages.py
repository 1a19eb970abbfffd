"""The messages between a replica and an API process, in the frames of `server.ipc.frames`.

The replica connects, sends the token of its `ReplyTo`, and then frames; the API process's own frames are
questions and cancellations. An event's `id` is that of a request's one stay in one replica, a `Run`.
"""

from __future__ import annotations

import msgspec

from server.engine.events import Failure
from server.ipc.frames import HEADER, FrameError, check_length
from server.ipc.messages import Cancel, Slots, SlotsReply, Stats, StatsReply, StepEvents

TOKEN_BYTES = 16
BEAT_S = 1.0
"""While requests run in it, a replica says something at least so often."""


class Acceptance(msgspec.Struct, frozen=True, tag="acceptance", array_like=True):
    """The replica has the request now: the end of this socket is the end of its stay."""

    id: str


class Beat(msgspec.Struct, frozen=True, tag="beat", array_like=True):
    """The replica lives, and has nothing else to say."""


FromReplica = StepEvents | Acceptance | Beat | StatsReply | SlotsReply | Failure
"""A `Failure` is the answer to a question that can't be answered."""
ToReplica = Cancel | Stats | Slots

_encoder = msgspec.msgpack.Encoder()
_from_replica: msgspec.msgpack.Decoder[FromReplica] = msgspec.msgpack.Decoder(FromReplica)
_to_replica: msgspec.msgpack.Decoder[ToReplica] = msgspec.msgpack.Decoder(ToReplica)


def link_frame(message: FromReplica | ToReplica) -> bytes:
    """Return header and payload. Raises FrameError if the payload is longer than allowed."""
    payload = _encoder.encode(message)
    check_length(len(payload))
    return HEADER.pack(len(payload)) + payload


def decode_from_replica(payload: bytes) -> FromReplica:
    """Return a replica's message. Raises FrameError if there is none."""
    try:
        return _from_replica.decode(payload)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a frame that doesn't decode: {error}; all machines need one version") from error


def decode_to_replica(payload: bytes) -> ToReplica:
    """Return an API process's message. Raises FrameError if there is none."""
    try:
        return _to_replica.decode(payload)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a frame that doesn't decode: {error}; all machines need one version") from error
